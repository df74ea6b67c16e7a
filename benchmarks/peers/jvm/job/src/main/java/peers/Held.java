package peers;

/** A user with its ids for engines that keep objects in memory: a ring in order of arrival, and a hash table over it. */
public final class Held extends User {
    long[] ring = new long[8];
    long[] table = new long[16];

    /** Whether the id is among the last 1,000; remembers it. To be called before the event is folded. */
    public boolean seen(long mark) {
        long[] places = table;
        int mask = places.length - 1;
        int slot = (int) mark & mask;
        for (long there; (there = places[slot]) != 0; slot = slot + 1 & mask) {
            if (there == mark) {
                return true;
            }
        }
        int place = (int) (count % Job.IDS);
        if (count >= Job.IDS) {
            drop(ring[place]);
            ring[place] = mark;
            put(mark);
            return false;
        }
        if (place == ring.length) {
            grow();
        }
        ring[place] = mark;
        put(mark);
        return false;
    }

    /** How many ids there are. */
    int ids() {
        return (int) Math.min(count, Job.IDS);
    }

    private void put(long mark) {
        int mask = table.length - 1;
        int slot = (int) mark & mask;
        while (table[slot] != 0) {
            slot = slot + 1 & mask;
        }
        table[slot] = mark;
    }

    private void drop(long mark) {
        int mask = table.length - 1;
        int hole = (int) mark & mask;
        while (table[hole] != mark) {
            hole = hole + 1 & mask;
        }
        for (int next = hole + 1 & mask; table[next] != 0; next = next + 1 & mask) {
            int home = (int) table[next] & mask;
            if ((next - home & mask) >= (next - hole & mask)) {
                table[hole] = table[next];
                hole = next;
            }
        }
        table[hole] = 0;
    }

    private void grow() {
        int size = Math.min(Job.IDS, 2 * ring.length);
        ring = java.util.Arrays.copyOf(ring, size);
        index();
    }

    /** Build the table anew from the ring. */
    void index() {
        table = new long[Math.max(16, Integer.highestOneBit(2 * ring.length - 1) << 1)];
        for (int at = 0, ids = ids(); at < ids; at++) {
            put(ring[at]);
        }
    }

    public Held copy() {
        Held other = new Held();
        copyTo(other);
        other.ring = ring.clone();
        other.table = table.clone();
        return other;
    }
}
