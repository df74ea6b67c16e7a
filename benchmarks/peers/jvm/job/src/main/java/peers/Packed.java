package peers;

import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import sun.misc.Unsafe;

/**
 * A user as bytes: a ring with 8 bytes for each of the last 1,000 event ids, then the rest in a compact form.
 *
 * <p>The ring is looked through where it lies, nothing is built of it; one object serves a thread for all its users.
 */
public final class Packed {
    static final Unsafe UNSAFE;
    static final long BASE = Unsafe.ARRAY_BYTE_BASE_OFFSET;
    private static final int RING = 8 * Job.IDS;

    static {
        try {
            Field field = Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            UNSAFE = (Unsafe) field.get(null);
        } catch (ReflectiveOperationException error) {
            throw new ExceptionInInitializerError(error);
        }
    }

    public final User user = new User();
    /** the ring of a user that is unpacked here to be changed in place; for stores that write from here */
    final byte[] ring = new byte[RING];
    int ringBytes;
    private byte[] small = new byte[4_096];
    private int at;

    /** As a new user. */
    public void clear() {
        user.clear();
        ringBytes = 0;
    }

    /** Fold an event into the user that is unpacked here; returns false when the id was seen before. */
    public boolean foldHere(Event event, Job.Out out) {
        long mark = event.mark();
        if (contains(ring, ringBytes, mark)) {
            return false;
        }
        UNSAFE.putLong(ring, BASE + (user.count % Job.IDS) * 8, mark);
        ringBytes = Math.min(RING, ringBytes + 8);
        Job.fold(user, event, out);
        return true;
    }

    /**
     * Fold an event into a packed user; {@code null}: a new one. Returns the new bytes, or {@code null} when the id was
     * seen before. Where the size stays, the given array is changed and returned: this saves about 1 µs an event, and is
     * only for a store that keeps no second reference to it and is told of the change at once.
     */
    public byte[] fold(byte[] state, Event event, Job.Out out) {
        int ring = 0;
        if (state == null) {
            user.clear();
        } else {
            ring = read(state, state.length);
        }
        long mark = event.mark();
        if (ring > 0 && contains(state, ring, mark)) {
            return null;
        }
        int place = (int) (user.count % Job.IDS) * 8;
        Job.fold(user, event, out);
        int bytes = writeSmall(user);
        int newRing = Math.min(RING, ring + 8);
        if (state != null && newRing == ring && state.length == ring + bytes) {
            UNSAFE.putLong(state, BASE + place, mark);
            System.arraycopy(small, 0, state, ring, bytes);
            return state;
        }
        byte[] next = new byte[newRing + bytes];
        if (ring > 0) {
            System.arraycopy(state, 0, next, 0, ring);
        }
        UNSAFE.putLong(next, BASE + place, mark);
        System.arraycopy(small, 0, next, newRing, bytes);
        return next;
    }

    static boolean contains(byte[] ring, int bytes, long mark) {
        long from = BASE;
        long end = BASE + bytes;
        for (long quads = BASE + (bytes & ~31); from < quads; from += 32) {
            if (UNSAFE.getLong(ring, from) == mark
                    || UNSAFE.getLong(ring, from + 8) == mark
                    || UNSAFE.getLong(ring, from + 16) == mark
                    || UNSAFE.getLong(ring, from + 24) == mark) {
                return true;
            }
        }
        for (; from < end; from += 8) {
            if (UNSAFE.getLong(ring, from) == mark) {
                return true;
            }
        }
        return false;
    }

    /** Unpack the rest; returns how many bytes the ring has. The last two bytes tell how long the rest is. */
    int read(byte[] state, int length) {
        int rest = (state[length - 2] & 0xFF) << 8 | state[length - 1] & 0xFF;
        readSmall(user, state, length - rest);
        return length - rest;
    }

    void readSmall(User it, byte[] bytes, int from) {
        at = from;
        it.first = getDouble(bytes);
        it.last = getDouble(bytes);
        it.zero = getDouble(bytes);
        it.due = getDouble(bytes);
        it.count = getVar(bytes);
        it.sequence = getVar(bytes);
        it.members = bytes[at++];
        for (int left = it.members; left != 0; left &= left - 1) {
            it.since[Integer.numberOfTrailingZeros(left)] = getDouble(bytes);
        }
        int kinds = (int) getVar(bytes);
        it.kinds = 0;
        for (int number = 0; number < kinds; number++) {
            int code = bytes[at++];
            String name;
            if (code >= 0) {
                name = User.KNOWN[code];
            } else {
                int size = (int) getVar(bytes);
                name = new String(bytes, at, size, StandardCharsets.UTF_8);
                at += size;
            }
            int place = it.newKind(name);
            it.fast[place] = getDouble(bytes);
            it.slow[place] = getDouble(bytes);
        }
        it.categories = getLong(bytes);
        for (long left = it.categories; left != 0; left &= left - 1) {
            it.interest[Long.numberOfTrailingZeros(left)] = getDouble(bytes);
        }
        for (int number = 0; number < User.TALLIES; number++) {
            it.totals[number] = unzigzag(getVar(bytes));
            Tally tally = it.tallies[number];
            int size = (int) getVar(bytes);
            tally.room(size);
            tally.size = size;
            long before = 0;
            for (int bucket = 0; bucket < size; bucket++) {
                before += unzigzag(getVar(bytes));
                tally.buckets[bucket] = before;
                tally.amounts[bucket] = unzigzag(getVar(bytes));
            }
        }
    }

    byte[] small() {
        return small;
    }

    byte[] small(int room) {
        if (small.length < room) {
            small = new byte[room];
        }
        return small;
    }

    /** Pack the rest; returns how many bytes it takes. */
    int writeSmall(User it) {
        int tallied = 0;
        for (Tally tally : it.tallies) {
            tallied += tally.size;
        }
        int named = 0;
        for (int number = 0; number < it.kinds; number++) {
            named += 3 * it.kindNames[number].length();
        }
        int most = 1_024 + 32 * it.kinds + named + 20 * tallied;
        if (small.length < most) {
            small = new byte[most];
        }
        at = 0;
        putDouble(it.first);
        putDouble(it.last);
        putDouble(it.zero);
        putDouble(it.due);
        putVar(it.count);
        putVar(it.sequence);
        small[at++] = (byte) it.members;
        for (int left = it.members; left != 0; left &= left - 1) {
            putDouble(it.since[Integer.numberOfTrailingZeros(left)]);
        }
        putVar(it.kinds);
        for (int number = 0; number < it.kinds; number++) {
            putName(it.kindNames[number]);
            putDouble(it.fast[number]);
            putDouble(it.slow[number]);
        }
        putLong(it.categories);
        for (long left = it.categories; left != 0; left &= left - 1) {
            putDouble(it.interest[Long.numberOfTrailingZeros(left)]);
        }
        for (int number = 0; number < User.TALLIES; number++) {
            putVar(zigzag(it.totals[number]));
            Tally tally = it.tallies[number];
            putVar(tally.size);
            long before = 0;
            for (int bucket = 0; bucket < tally.size; bucket++) {
                long now = tally.buckets[bucket];
                putVar(zigzag(now - before));
                before = now;
                putVar(zigzag(tally.amounts[bucket]));
            }
        }
        int size = at + 2;
        if (size > 0xFFFF) {
            throw new IllegalStateException("a user's state is too large");
        }
        small[at++] = (byte) (size >>> 8);
        small[at++] = (byte) size;
        return size;
    }

    private void putName(String name) {
        for (int code = 0; code < User.KNOWN.length; code++) {
            if (User.KNOWN[code].equals(name)) {
                small[at++] = (byte) code;
                return;
            }
        }
        byte[] text = name.getBytes(StandardCharsets.UTF_8);
        small[at++] = -1;
        putVar(text.length);
        System.arraycopy(text, 0, small, at, text.length);
        at += text.length;
    }

    private double getDouble(byte[] bytes) {
        return Double.longBitsToDouble(getLong(bytes));
    }

    private long getLong(byte[] bytes) {
        long value = UNSAFE.getLong(bytes, BASE + at);
        at += 8;
        return value;
    }

    private long getVar(byte[] bytes) {
        byte one = bytes[at++];
        if (one >= 0) {
            return one;
        }
        long value = one & 0x7F;
        for (int shift = 7; ; shift += 7) {
            one = bytes[at++];
            value |= (long) (one & 0x7F) << shift;
            if (one >= 0) {
                return value;
            }
        }
    }

    private void putDouble(double value) {
        putLong(Double.doubleToRawLongBits(value));
    }

    private void putLong(long value) {
        UNSAFE.putLong(small, BASE + at, value);
        at += 8;
    }

    private void putVar(long value) {
        while ((value & ~0x7FL) != 0) {
            small[at++] = (byte) (value | 0x80);
            value >>>= 7;
        }
        small[at++] = (byte) value;
    }

    private static long zigzag(long value) {
        return value << 1 ^ value >> 63;
    }

    private static long unzigzag(long value) {
        return value >>> 1 ^ -(value & 1);
    }
}
