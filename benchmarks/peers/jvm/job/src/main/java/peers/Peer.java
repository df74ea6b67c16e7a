package peers;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * How a peer's process ends: measured, or held against the job.
 *
 * <p>With {@code -Dpeers.states=FILE} each user's state is kept as text after each event; the process then works until
 * its standard input ends, and writes the states.
 */
public final class Peer {
    private static final String FILE = System.getProperty("peers.states");
    /** whether this run is held against the job */
    public static final boolean CHECKED = FILE != null;
    private static final Map<String, String> STATES = new ConcurrentHashMap<>();

    private Peer() {}

    /** Wait for what the run is for, then end the process: nothing is left to be cleaned up in order. */
    public static void end(long expected) throws InterruptedException, IOException {
        if (CHECKED) {
            while (System.in.read() >= 0) {} // nothing is sent, only the end counts
            Files.write(Path.of(FILE), STATES.values());
        } else {
            StopWatch.measure(expected);
        }
        Runtime.getRuntime().halt(0);
    }

    /** The engine has given up: say why, and end. */
    public static void failed(Throwable error) {
        error.printStackTrace();
        Runtime.getRuntime().halt(1);
    }

    public static void keep(String name, User user) {
        STATES.put(name, text(name, user));
    }

    public static void keep(String name, byte[] state) {
        Packed packed = new Packed();
        packed.read(state, state.length);
        keep(name, packed.user);
    }

    private static String text(String name, User user) {
        StringBuilder it = new StringBuilder("{\"user\":");
        Job.quote(it, name);
        it.append(",\"first\":").append(user.first).append(",\"last\":").append(user.last);
        it.append(",\"zero\":").append(user.zero).append(",\"count\":").append(user.count);
        it.append(",\"sequence\":").append(user.sequence);
        it.append(",\"due\":").append(Double.isInfinite(user.due) ? "null" : String.valueOf(user.due));
        it.append(",\"kinds\":{");
        for (int at = 0; at < user.kinds; at++) {
            Job.quote(it.append(at > 0 ? "," : ""), user.kindNames[at]);
            it.append(":[").append(user.fast[at]).append(',').append(user.slow[at]).append(']');
        }
        it.append("},\"categories\":{");
        String comma = "";
        for (int at = 0; at < Event.CATEGORY_BUCKETS; at++) {
            if ((user.categories >>> at & 1) != 0) {
                it.append(comma).append('"').append(at).append("\":").append(user.interest[at]);
                comma = ",";
            }
        }
        it.append("},\"totals\":[");
        for (int at = 0; at < User.TALLIES; at++) {
            it.append(at > 0 ? "," : "").append(user.totals[at]);
        }
        it.append("],\"buckets\":[");
        for (int at = 0; at < User.TALLIES; at++) {
            it.append(at > 0 ? ",{" : "{");
            Tally tally = user.tallies[at];
            for (int bucket = 0; bucket < tally.size; bucket++) {
                it.append(bucket > 0 ? "," : "").append('"').append(tally.buckets[bucket]).append("\":");
                it.append(tally.amounts[bucket]);
            }
            it.append('}');
        }
        it.append("],\"members\":{");
        comma = "";
        for (int at = 0; at < Job.SEGMENTS; at++) {
            if ((user.members >>> at & 1) != 0) {
                it.append(comma).append('"').append(Job.NAMES[at]).append("\":").append(user.since[at]);
                comma = ",";
            }
        }
        return it.append("}}").toString();
    }
}
