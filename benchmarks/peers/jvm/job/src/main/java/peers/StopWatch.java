package peers;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * Notes how much was committed when; once enough is, all that was noted goes out as one line of JSON.
 *
 * <p>What rate that comes to is the reader's to say, who measures all contestants alike. An event is counted by its
 * task's own thread and is seen by others only with the commit, so counting costs next to nothing.
 */
public final class StopWatch {
    /** One task's numbers; they belong to the task's thread. */
    public static final class Counter {
        private final Thread thread = Thread.currentThread();
        private long events;
        private long changes;

        public void event() {
            events++;
        }

        public void change() {
            changes++;
        }

        public Count now() {
            return new Count(events, changes);
        }
    }

    /** What a task had done at some moment. */
    public record Count(long events, long changes) {}

    /** What was committed when, in nanoseconds of a clock and of the processors. */
    private record Look(long time, long processor, long events) {}

    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static final List<Counter> COUNTERS = new ArrayList<>();
    private static final Map<Counter, Count> COMMITTED = new HashMap<>();
    private static final Set<Counter> SINCE_LAST_LOOK = new HashSet<>();
    private static final List<Look> LOOKS = new ArrayList<>();

    private StopWatch() {}

    /** For a task, on its thread. */
    public static synchronized Counter counter() {
        Counter made = new Counter();
        COUNTERS.add(made);
        return made;
    }

    /** The task went elsewhere; what it did is committed, and nobody waits for its next commit. */
    public static synchronized void closed(Counter counter) {
        COUNTERS.remove(counter);
        SINCE_LAST_LOOK.remove(counter);
    }

    /** All that the calling thread's tasks have counted is committed. */
    public static synchronized void committed() {
        for (Counter each : COUNTERS) {
            if (each.thread == Thread.currentThread()) {
                committed(each, each.now());
            }
        }
    }

    /** So much of this task is committed. A look is kept when all tasks have committed since the one before. */
    public static synchronized void committed(Counter counter, Count count) {
        Count before = COMMITTED.put(counter, count);
        if (before != null && before.events >= count.events) {
            return;
        }
        SINCE_LAST_LOOK.add(counter);
        if (SINCE_LAST_LOOK.size() == COUNTERS.size()) {
            SINCE_LAST_LOOK.clear();
            LOOKS.add(new Look(System.nanoTime(), SYSTEM.getProcessCpuTime(), events()));
        }
        StopWatch.class.notifyAll();
    }

    private static long events() {
        return COMMITTED.values().stream().mapToLong(Count::events).sum();
    }

    /** Wait until {@code expected} events are committed, and print all looks. */
    static synchronized void measure(long expected) throws InterruptedException {
        while (events() < expected) {
            StopWatch.class.wait();
        }
        StringBuilder text = new StringBuilder("{\"commits\": [");
        String comma = "";
        for (Look each : LOOKS) {
            text.append(comma)
                    .append(String.format(
                            Locale.ROOT, "[%.6f, %.6f, %d]", each.time / 1e9, each.processor / 1e9, each.events));
            comma = ", ";
        }
        long changes = COMMITTED.values().stream().mapToLong(Count::changes).sum();
        long collecting = ManagementFactory.getGarbageCollectorMXBeans().stream()
                .mapToLong(GarbageCollectorMXBean::getCollectionTime)
                .sum();
        text.append(String.format(Locale.ROOT, "], \"changes\": %d, \"gc_seconds\": %.3f}", changes, collecting / 1e3));
        System.out.println(text);
        System.out.flush();
    }
}
