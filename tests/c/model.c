#include "model.h"

static Value value_copy(Value from)
{
    if (from.bytes != NULL) {
        uint8_t *bytes = malloc(from.size + 1u);
        EXPECT(bytes != NULL);
        memcpy(bytes, from.bytes, from.size);
        from.bytes = bytes;
    }
    return from;
}

static void value_set(Value *to, Value value)
{
    free(to->bytes);
    *to = value;
}

/* As many random bytes as a block may have, mostly few. */
static uint32_t any_size(Model *model)
{
    uint32_t most = draw(&model->seed, 20) == 0 ? model->most : draw(&model->seed, 4) == 0 ? 4000 : 700;
    return draw(&model->seed, most < model->most ? most : model->most);
}

static void model_end_turn(Model *model, int commit)
{
    for (uint32_t at = 0; at < MODEL_USERS; at++) {
        if (model->number[at] == TURN_MISSING)
            continue;
        if (commit) {
            value_set(&model->committed[at], model->turned[at]);
            model->in_memory[at] = model->turned[at].bytes != NULL;
        } else {
            value_set(&model->turned[at], (Value){0});
        }
        model->turned[at] = (Value){0};
        model->number[at] = TURN_MISSING;
    }
    if (commit) {
        turn_commit(model->cache);
        model->commits++;
    } else {
        turn_drop(model->cache);
        model->drops++;
    }
    EXPECT(model->cache->turn.count == 0 && model->cache->turn.bytes == 0);
}

static int same(Entry entry, Value value)
{
    return entry.prefix->size == value.size && memcmp(entry.block, value.bytes, value.size) == 0
           && entry.prefix->timer == value.timer && (uintptr_t)entry.block % 8 == 0 && entry.room >= value.size;
}

void model_compare(Model *model)
{
    Entry entry;
    uint32_t users = 0;
    for (uint32_t at = 0; at < MODEL_USERS; at++) {
        int there = cache_get(model->cache, &model->users[at], &entry);
        EXPECT(there == model->in_memory[at]);
        EXPECT(!there || same(entry, model->committed[at]));
        users += (uint32_t)there;
        if (model->number[at] == TURN_MISSING)
            continue;
        users += (uint32_t)!there; /* new ones */
        EXPECT(turn_is_gone(model->cache, model->number[at]) == (model->turned[at].bytes == NULL));
        EXPECT(model->turned[at].bytes == NULL || same(turn_entry(model->cache, model->number[at]), model->turned[at]));
    }
    EXPECT(cache_users(model->cache) == users);
    size_t bytes = 0;
    for (uint32_t at = 0; at < model->cache->turn.count; at++)
        bytes += slab_room(&model->cache->slabs, model->cache->turn.copies[at].now);
    EXPECT(bytes == model->cache->turn.bytes);
}

/* who was let go is known by looking, and must have been somebody outside of the turn */
static void look_who_went(Model *model)
{
    Entry entry;
    for (uint32_t at = 0; at < MODEL_USERS; at++) {
        if (!model->in_memory[at] || cache_get(model->cache, &model->users[at], &entry))
            continue;
        EXPECT(model->number[at] == TURN_MISSING);
        model->in_memory[at] = 0;
        model->let_go++;
    }
}

/* whether a call is to be tried again; nothing may have changed by it, but users who went for want of memory */
static int again(Model *model, int result)
{
    if (result >= 0)
        return 0;
    model->faults++;
    look_who_went(model);
    model_compare(model);
    return 1;
}
#define TRY(call)                      \
    do {                               \
        result = (call);               \
        if (result < 0 && sticky)      \
            return -1;                 \
    } while (again(model, result))

static int begin_user(Model *model, uint32_t at, int sticky)
{
    int result;
    uint32_t number;
    Value value = value_copy(model->committed[at]); /* as the store has it */
    if (value.bytes == NULL || model->number[at] != TURN_MISSING) {
        uint32_t size = any_size(model);
        value_set(&value, (Value){.bytes = malloc(size + 1u), .size = size, .timer = 0.0});
        EXPECT(value.bytes != NULL);
        memset(value.bytes, (int)draw(&model->seed, 256), value.size);
    }
    do {
        result = turn_new(model->cache, &model->users[at], value.size, &number);
        if (result < 0 && sticky) {
            free(value.bytes);
            return -1;
        }
    } while (again(model, result));
    EXPECT(result == 0);
    EXPECT(model->number[at] == TURN_MISSING || model->number[at] == number);
    Entry entry = turn_entry(model->cache, number);
    EXPECT(entry.prefix->size == value.size);
    for (uint32_t byte = 0; byte < value.size; byte++)
        EXPECT(entry.block[byte] == 0);
    memcpy(entry.block, value.bytes, value.size);
    entry.prefix->timer = value.timer;
    model->number[at] = number;
    value_set(&model->turned[at], value);
    EXPECT(turn_new(model->cache, &model->users[at], 3, &number) == 1 && number == model->number[at]);
    return 0;
}

static int change_user(Model *model, uint32_t at, int sticky)
{
    int result;
    uint32_t number = model->number[at], size = any_size(model);
    Value *value = &model->turned[at];
    if (draw(&model->seed, 12) == 0) {
        turn_forget(model->cache, number, (int)draw(&model->seed, 2));
        value_set(value, (Value){0});
        return 0;
    }
    TRY(turn_grow(model->cache, number, size));
    Entry entry = turn_entry(model->cache, number);
    EXPECT(entry.room >= size);
    uint8_t *bytes = malloc(size + 1u);
    EXPECT(bytes != NULL);
    uint32_t kept = size < value->size ? size : value->size;
    memcpy(bytes, value->bytes, kept);
    memset(bytes + kept, (int)draw(&model->seed, 256), size - kept);
    for (uint32_t changes = draw(&model->seed, 4); changes > 0 && size > 0; changes--)
        bytes[draw(&model->seed, size)] ^= 1;
    memcpy(entry.block, bytes, size);
    entry.prefix->size = size;
    entry.prefix->timer = (double)draw(&model->seed, 1000);
    value_set(value, (Value){.bytes = bytes, .size = size, .timer = entry.prefix->timer});
    return 0;
}

static int turn_step(Model *model, int sticky)
{
    User users[40];
    uint32_t picked[40], numbers[40], done, count = 1 + draw(&model->seed, 40);
    int result;
    for (uint32_t at = 0; at < count; at++) {
        picked[at] = draw(&model->seed, draw(&model->seed, 2) ? MODEL_USERS : 20); /* some come twice in a turn */
        users[at] = model->users[picked[at]];
    }
    for (uint32_t from = 0; from < count; from += done) {
        TRY(turn_find(model->cache, users + from, count - from, numbers + from, &done));
        EXPECT(done > 0);
        look_who_went(model);
        for (uint32_t at = from; at < from + done; at++) {
            uint32_t user = picked[at];
            if (numbers[at] == TURN_MISSING) { /* unless begun further on in this loop */
                EXPECT(!model->in_memory[user] || model->number[user] != TURN_MISSING);
            } else if (model->number[user] != TURN_MISSING) {
                EXPECT(numbers[at] == model->number[user]);
            } else {
                EXPECT(model->in_memory[user]);
                model->number[user] = numbers[at];
                value_set(&model->turned[user], value_copy(model->committed[user]));
            }
        }
        for (uint32_t at = from; at < from + done; at++) {
            uint32_t user = picked[at];
            int begins = model->number[user] == TURN_MISSING || model->turned[user].bytes == NULL;
            if ((begins ? begin_user : change_user)(model, user, sticky) < 0)
                return -1;
        }
    }
    return 0;
}

int model_step(Model *model, int sticky)
{
    int result = 0;
    switch (draw(&model->seed, 8)) {
    case 0:
        cache_let_go(model->cache, 1 + draw(&model->seed, 20000), 1 + draw(&model->seed, 100));
        break;
    case 1:
        cache_tidy(model->cache);
        break;
    default:
        TRY(turn_begin(model->cache, draw(&model->seed, 60)));
        do {
            if (turn_step(model, sticky) < 0) {
                model_end_turn(model, 0);
                look_who_went(model);
                return -1;
            }
        } while (draw(&model->seed, 3) == 0);
        look_who_went(model);
        model_compare(model);
        model_end_turn(model, draw(&model->seed, 4) != 0);
    }
    look_who_went(model);
    return 0;
}

void model_begin(Model *model, Arena *arena, uint64_t seed, uint32_t most, uint32_t spread)
{
    memset(model, 0, sizeof(*model));
    model->cache = cache_new(arena);
    model->seed = seed;
    model->most = most;
    for (uint32_t at = 0; at < MODEL_USERS; at++) {
        model->users[at] = user_of(at, model->names[at], MODEL_NAME, spread);
        model->number[at] = TURN_MISSING;
    }
}

void model_end(Model *model)
{
    for (uint32_t at = 0; at < MODEL_USERS; at++) {
        free(model->committed[at].bytes);
        free(model->turned[at].bytes);
    }
    cache_free(model->cache);
}
