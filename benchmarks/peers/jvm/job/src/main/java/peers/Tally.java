package peers;

import java.util.Arrays;

/** A tally's buckets: numbers and amounts side by side, the newest bucket last in nearly all cases. */
final class Tally {
    int size;
    long[] buckets;
    long[] amounts;

    Tally() {
        this(4);
    }

    private Tally(int room) {
        buckets = new long[room];
        amounts = new long[room];
    }

    int find(long bucket) {
        for (int at = size - 1; at >= 0; at--) {
            if (buckets[at] == bucket) {
                return at;
            }
        }
        return -1;
    }

    void add(long bucket, long amount) {
        if (size == buckets.length) {
            buckets = Arrays.copyOf(buckets, 2 * size);
            amounts = Arrays.copyOf(amounts, 2 * size);
        }
        buckets[size] = bucket;
        amounts[size++] = amount;
    }

    void room(int wanted) {
        if (wanted > buckets.length) {
            buckets = new long[wanted + 8];
            amounts = new long[wanted + 8];
        }
    }

    Tally copy() {
        Tally other = new Tally(Math.max(4, size));
        other.size = size;
        System.arraycopy(buckets, 0, other.buckets, 0, size);
        System.arraycopy(amounts, 0, other.amounts, 0, size);
        return other;
    }
}
