package peers;

import java.util.Arrays;

/** The state of one user but for the ids of its last events. */
public class User {
    static final int TALLIES = 6;
    static final String[] KNOWN = {"view", "click", "purchase", "comment", "follow", "$spend", "$dwell"};

    double first;
    double last;
    double zero;
    /** events folded: the ring of ids holds the last 1,000 of them, so its end is known from this number */
    long count;
    long sequence;
    double due = Double.POSITIVE_INFINITY;
    int kinds;
    String[] kindNames = new String[8];
    double[] fast = new double[8];
    double[] slow = new double[8];
    /** a bit for each category bucket that is there */
    long categories;
    final double[] interest = new double[Event.CATEGORY_BUCKETS];
    final long[] totals = new long[TALLIES];
    final Tally[] tallies = new Tally[TALLIES];
    /** a bit for each segment, and since when */
    int members;
    final double[] since = new double[Job.SEGMENTS];

    public User() {
        for (int tally = 0; tally < TALLIES; tally++) {
            tallies[tally] = new Tally();
        }
    }

    /** As new. */
    void clear() {
        first = last = zero = 0.0;
        count = sequence = 0;
        due = Double.POSITIVE_INFINITY;
        kinds = 0;
        categories = 0;
        Arrays.fill(totals, 0);
        for (Tally tally : tallies) {
            tally.size = 0;
        }
        members = 0;
    }

    void copyTo(User other) {
        other.first = first;
        other.last = last;
        other.zero = zero;
        other.count = count;
        other.sequence = sequence;
        other.due = due;
        other.kinds = kinds;
        other.kindNames = kindNames.clone();
        other.fast = fast.clone();
        other.slow = slow.clone();
        other.categories = categories;
        System.arraycopy(interest, 0, other.interest, 0, interest.length);
        System.arraycopy(totals, 0, other.totals, 0, TALLIES);
        for (int tally = 0; tally < TALLIES; tally++) {
            other.tallies[tally] = tallies[tally].copy();
        }
        other.members = members;
        System.arraycopy(since, 0, other.since, 0, since.length);
    }

    int kind(String name) {
        for (int at = 0; at < kinds; at++) {
            if (kindNames[at].equals(name)) {
                return at;
            }
        }
        return -1;
    }

    int newKind(String name) {
        if (kinds == kindNames.length) {
            kindNames = Arrays.copyOf(kindNames, 2 * kinds);
            fast = Arrays.copyOf(fast, 2 * kinds);
            slow = Arrays.copyOf(slow, 2 * kinds);
        }
        kindNames[kinds] = name;
        return kinds++;
    }
}
