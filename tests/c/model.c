#include "model.h"

#ifdef MEMORY_FAULTS /* the model's own calls do not fail */
#define SAFE(call)                      \
    do {                                \
        long fails_in = memory_fails_in; \
        memory_fails_in = 0;            \
        call;                           \
        memory_fails_in = fails_in;     \
    } while (0)
#else
#define SAFE(call) call
#endif

static const char TEXT[] = "everything that a block may have, again and again";

/* where the ids of a block are that is open */
static IdsAt ids_in(UserBlock *block, Tail **tail)
{
    static _Thread_local uint32_t cut;
    return (IdsAt){.block = block, .tail = tail, .cut = &cut};
}

static uint32_t records_of(const UserBlock *block, IdsBytes *records, Tail **tail)
{
    IdsAt ids = ids_in((UserBlock *)(uintptr_t)block, tail);
    Ids now = ids_of(block);
    EXPECT(now.stored - now.first <= MOST_RECORDS);
    for (uint32_t number = now.first; number < now.stored; number++) {
        const uint8_t *record = ids_record(&ids, number);
        records[number - now.first] = (IdsBytes){record, record == NULL ? 0 : IDS_RECORD_BYTES};
    }
    return now.stored - now.first;
}

static Value value_copy(Value from)
{
    if (from.bytes == NULL)
        return from;
    Value to = {.bytes = malloc(from.size), .size = from.size};
    IdsBytes records[MOST_RECORDS];
    UserBlock block;
    EXPECT(to.bytes != NULL);
    memcpy(to.bytes, from.bytes, from.size);
    block_open(&block, from.bytes, from.size, from.size);
    uint32_t count = records_of(&block, records, &from.tail);
    SAFE(EXPECT(tail_make(&to.tail, ids_of(&block).first, ids_of(&block).stored, records, count, NULL) == DONE));
    return to;
}

static void value_set(Value *to, Value value)
{
    free(to->bytes);
    tail_free(to->tail, NULL);
    *to = value;
}

/* opens it with room for so many bytes more; its size is told by value_close */
static IdsAt value_open(Value *value, UserBlock *block, size_t more)
{
    size_t room = (value->bytes == NULL ? BLOCK_HEADER : value->size) + more;
    uint8_t *bytes = malloc(room);
    EXPECT(bytes != NULL);
    if (value->bytes == NULL) {
        block_begin(block, bytes, room);
    } else {
        memcpy(bytes, value->bytes, value->size);
        block_open(block, bytes, value->size, room);
    }
    free(value->bytes);
    value->bytes = bytes;
    return ids_in(block, &value->tail);
}

static double value_due(Value value)
{
    return get_f64_be(value.bytes + AT_DUE);
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
        turn_commit(model->cache, 0);
        model->commits++;
    } else {
        turn_drop(model->cache);
        model->drops++;
    }
    EXPECT(model->cache->turn.count == 0 && model->cache->turn.bytes == 0);
}

static int same(Entry entry, Value value)
{
    IdsBytes mine[MOST_RECORDS], theirs[MOST_RECORDS];
    UserBlock block;
    if (entry.prefix->size != value.size || memcmp(entry.block, value.bytes, value.size) != 0
        || (uintptr_t)entry.block % 8 != 0 || entry.room < value.size)
        return 0;
    block_open(&block, entry.block, entry.prefix->size, entry.room);
    uint32_t count = records_of(&block, mine, &entry.prefix->tail);
    if (records_of(&block, theirs, &value.tail) != count || (count == 0 && entry.prefix->tail != NULL))
        return 0;
    IdsAt ids = ids_in(&block, &entry.prefix->tail);
    for (uint32_t at = 0; at < count; at++) {
        if (mine[at].size == 0 || memcmp(mine[at].at, theirs[at].at, IDS_RECORD_BYTES) != 0)
            return 0;
        if (!ids_known(&ids, ids_hash(mine[at].at, at % IDS_RECORD)))
            return 0;
    }
    return 1;
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

/* gives a user's block other content, and other ids */
static int change_block(Model *model, uint32_t at, int sticky)
{
    int result;
    uint32_t number = model->number[at], size = any_size(model), known = draw(&model->seed, 1000);
    uint32_t more = draw(&model->seed, 3) == 0 ? draw(&model->seed, 200) : 0;
    Value *value = &model->turned[at];
    UserBlock block, plain;
    IdsAt ids, plain_ids = value_open(value, &plain, size + (size_t)80 + (size_t)IDS_GROWTH * more);
    uint8_t *content = malloc(size + 1u);
    EXPECT(content != NULL);
    for (uint32_t byte = 0; byte < size; byte++)
        content[byte] = (uint8_t)(TEXT[byte % sizeof TEXT] + (int)(byte / 1000 + known));
    turn_open(model->cache, number, &block, &ids);
    if (section_size(&block, LABELS) < size && block.room < block.size + size + 16)
        result = turn_widen(model->cache, number, size + 16, &block, &ids);
    else
        result = 0;
    while (again(model, result) && !sticky)
        result = turn_widen(model->cache, number, size + 16, &block, &ids);
    if (result == 0) {
        EXPECT(block_set(&block, LABELS, content, size) == DONE && block_set(&plain, LABELS, content, size) == DONE);
        block_put_due(&block, known);
        block_put_due(&plain, known);
    }
    free(content);
    value->size = plain.size;
    turn_close(model->cache, number, &block);
    for (uint32_t i = 0; i < more && result >= 0;) {
        uint64_t hash = mixed((uint64_t)at << 32 | (known + i));
        int done = ids_remember(&ids, hash, model->now);
        turn_close(model->cache, number, &block);
        result = done == ID_NO_MEMORY ? -1 : 0;
        if (done == ID_NO_ROOM)
            result = turn_widen(model->cache, number, IDS_GROWTH, &block, &ids);
        if (again(model, result)) {
            result = sticky ? -1 : 0;
        } else if (done != ID_NO_ROOM) {
            SAFE(EXPECT(ids_remember(&plain_ids, hash, model->now) == done));
            value->size = plain.size;
            i++;
        }
    }
    return result;
}

static int begin_user(Model *model, uint32_t at, int sticky)
{
    int result, fresh = model->committed[at].bytes == NULL || model->number[at] != TURN_MISSING;
    uint32_t number;
    Value value = {0}, stored = model->committed[at];
    IdsBytes records[MOST_RECORDS];
    UserBlock block;
    if (fresh) {
        value_open(&value, &block, 0);
        value.size = BLOCK_HEADER;
    } else {
        value = value_copy(stored);
    }
    do {
        if (fresh) {
            result = turn_new(model->cache, &model->users[at], draw(&model->seed, 1000), &number);
        } else {
            block_open(&block, stored.bytes, stored.size, stored.size);
            result = turn_admit(model->cache, &model->users[at], stored.bytes, stored.size, records,
                                records_of(&block, records, &stored.tail), &number);
        }
        if (result < 0 && sticky) {
            value_set(&value, (Value){0});
            return -1;
        }
    } while (again(model, result));
    EXPECT(result == 0);
    EXPECT(model->number[at] == TURN_MISSING || model->number[at] == number);
    const Copy *own = turn_copy(model->cache, number);
    EXPECT(fresh ? own->timer > 1e300 && own->stored == 0 : own->timer == value_due(stored));
    model->number[at] = number;
    value_set(&model->turned[at], value);
    EXPECT(same(turn_entry(model->cache, number), value));
    EXPECT(turn_new(model->cache, &model->users[at], 3, &number) == 1 && number == model->number[at]);
    return change_block(model, at, sticky);
}

static int change_user(Model *model, uint32_t at, int sticky)
{
    if (draw(&model->seed, 12) != 0)
        return change_block(model, at, sticky);
    turn_forget(model->cache, model->number[at], (int)draw(&model->seed, 2));
    value_set(&model->turned[at], (Value){0});
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
                const Copy *own = turn_copy(model->cache, numbers[at]);
                EXPECT(own->timer == value_due(model->committed[user]));
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
    model->now += draw(&model->seed, 40000);
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
        value_set(&model->committed[at], (Value){0});
        value_set(&model->turned[at], (Value){0});
    }
    cache_free(model->cache);
}
