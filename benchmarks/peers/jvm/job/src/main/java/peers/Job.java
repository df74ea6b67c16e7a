package peers;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;

/** The peers' job, as {@code benchmarks/peers/job.py} has it: an event into a user's state, and a record for each change. */
public final class Job {
    public static final int IDS = 1_000;
    static final double DAY = 86_400.0;
    static final double FAST = DAY;
    static final double SLOW = 30 * DAY;
    private static final double REBASE = 400 * DAY;
    private static final double MICRO = 1_000_000.0;

    static final int VIEWS = 0;
    static final int SPENT = 1;
    static final int CLICKS = 2;
    static final int PURCHASES = 3;
    static final int FAN_CLICKS = 4;
    static final int CLICKS_NOW = 5;
    private static final long[] WIDTHS = {21_600, 86_400, 21_600, 21_600, 21_600, 15};
    private static final long[] WINDOWS = {604_800, 2_592_000, 604_800, 604_800, 604_800, 600};

    static final int SEGMENTS = 5;
    static final String[] NAMES = {"regulars", "big-spenders", "window-shoppers", "fans", "busy-now"};
    private static final int REGULARS = 1;
    private static final int BIG_SPENDERS = 2;
    private static final int WINDOW_SHOPPERS = 4;
    private static final int FANS = 8;
    private static final int BUSY = 16;
    private static final int ALL = 31;

    /** Takes the change records of an event. */
    public interface Out {
        void change(byte[] record);
    }

    private Job() {}

    /** Fold an event that was not seen before. The ids are the caller's. */
    public static void fold(User user, Event event, Out out) {
        double time = event.time;
        String kind = event.kind;
        if (user.count == 0) {
            user.first = user.last = user.zero = time;
        } else if (time > user.last) {
            user.last = time;
        } else if (time < user.first) {
            user.first = time;
        }
        user.count++;
        double ahead = time - user.zero;
        if (ahead > REBASE) {
            rebase(user, time);
            ahead = 0.0;
        }
        double fast = Math.pow(2.0, ahead / FAST);
        double slow = Math.pow(2.0, ahead / SLOW);
        count(user, kind, fast, slow);
        if (event.amount != 0.0) {
            count(user, "$spend", event.amount * fast, event.amount * slow);
        }
        if (event.dwell != 0.0) {
            count(user, "$dwell", event.dwell * fast, event.dwell * slow);
        }
        boolean categorised = !event.category.isEmpty();
        int touched = 0;
        switch (kind) {
            case "view" -> {
                if (categorised) {
                    interest(user, event, 1.0 * slow);
                }
                tally(user, VIEWS, time, 1);
                touched = REGULARS;
            }
            case "click" -> {
                if (categorised) {
                    interest(user, event, 2.0 * slow);
                }
                tally(user, CLICKS, time, 1);
                tally(user, CLICKS_NOW, time, 1);
                touched = WINDOW_SHOPPERS | BUSY;
                if (event.category.equals("c7")) {
                    tally(user, FAN_CLICKS, time, 1);
                    touched = WINDOW_SHOPPERS | FANS | BUSY;
                }
            }
            case "purchase" -> {
                if (categorised) {
                    interest(user, event, 5.0 * slow);
                }
                tally(user, SPENT, time, (long) Math.rint(event.amount * MICRO));
                tally(user, PURCHASES, time, 1);
                touched = BIG_SPENDERS | WINDOW_SHOPPERS;
            }
            case "comment" -> {
                if (categorised) {
                    interest(user, event, 3.0 * slow);
                }
            }
            default -> {}
        }
        if (user.due <= user.last) {
            expire(user);
            touched = ALL;
        }
        int changed = (holds(user.totals) ^ user.members) & touched;
        if (changed != 0) {
            change(user, event, changed, out);
        }
    }

    private static int holds(long[] totals) {
        return (totals[VIEWS] >= 10 ? REGULARS : 0)
                | (totals[SPENT] >= 200_000_000L ? BIG_SPENDERS : 0)
                | (totals[CLICKS] >= 12 && totals[PURCHASES] == 0 ? WINDOW_SHOPPERS : 0)
                | (totals[FAN_CLICKS] >= 3 ? FANS : 0)
                | (totals[CLICKS_NOW] >= 20 ? BUSY : 0);
    }

    private static void change(User user, Event event, int changed, Out out) {
        for (int segment = 0; segment < SEGMENTS; segment++) {
            int bit = 1 << segment;
            if ((changed & bit) == 0) {
                continue;
            }
            user.members ^= bit;
            boolean entered = (user.members & bit) != 0;
            if (entered) {
                user.since[segment] = user.last;
            }
            user.sequence++;
            StringBuilder text = new StringBuilder(192);
            text.append("{\"user\":");
            quote(text, event.user);
            text.append(",\"segment\":\"").append(NAMES[segment]);
            text.append(entered ? "\",\"change\":\"entered\",\"sequence\":" : "\",\"change\":\"exited\",\"sequence\":");
            text.append(user.sequence).append(",\"event\":");
            quote(text, event.id);
            text.append(",\"event_time\":").append(plain(event.time)).append(",\"values\":{");
            long[] totals = user.totals;
            switch (segment) {
                case 0 -> text.append("\"views_7d\":").append(totals[VIEWS]);
                case 1 -> text.append("\"spent_30d\":").append(plain(totals[SPENT] / MICRO));
                case 2 -> text.append("\"clicks_7d\":").append(totals[CLICKS])
                        .append(",\"purchases_7d\":").append(totals[PURCHASES]);
                case 3 -> text.append("\"clicks_c7_7d\":").append(totals[FAN_CLICKS]);
                default -> text.append("\"clicks_10m\":").append(totals[CLICKS_NOW]);
            }
            out.change(text.append("}}").toString().getBytes(StandardCharsets.UTF_8));
        }
    }

    private static String plain(double number) {
        return new BigDecimal(Double.toString(number)).toPlainString();
    }

    static void quote(StringBuilder text, String value) {
        text.append('"');
        for (int at = 0; at < value.length(); at++) {
            char letter = value.charAt(at);
            if (letter == '"' || letter == '\\') {
                text.append('\\').append(letter);
            } else if (letter < 0x20) {
                text.append(String.format("\\u%04x", (int) letter));
            } else {
                text.append(letter);
            }
        }
        text.append('"');
    }

    private static void count(User user, String name, double fast, double slow) {
        int at = user.kind(name);
        if (at < 0) {
            at = user.newKind(name);
            user.fast[at] = fast;
            user.slow[at] = slow;
        } else {
            user.fast[at] += fast;
            user.slow[at] += slow;
        }
    }

    private static void interest(User user, Event event, double amount) {
        int bucket = event.categoryBucket();
        long bit = 1L << bucket;
        if ((user.categories & bit) == 0) {
            user.categories |= bit;
            user.interest[bucket] = amount;
        } else {
            user.interest[bucket] += amount;
        }
    }

    private static void tally(User user, int tally, double time, long amount) {
        long width = WIDTHS[tally];
        long bucket = (long) Math.floor(time / width);
        if ((double) bucket * width > time) {
            bucket--; // the quotient was rounded up to a whole number
        }
        Tally held = user.tallies[tally];
        int at = held.find(bucket);
        if (at >= 0) {
            held.amounts[at] += amount;
        } else {
            double ends = (double) ((bucket + 1) * width + WINDOWS[tally]);
            if (ends <= user.last) {
                return;
            }
            held.add(bucket, amount);
            user.due = Math.min(user.due, ends);
        }
        user.totals[tally] += amount;
    }

    private static void expire(User user) {
        double now = user.last;
        double due = Double.POSITIVE_INFINITY;
        for (int tally = 0; tally < User.TALLIES; tally++) {
            long after = WIDTHS[tally] + WINDOWS[tally];
            Tally held = user.tallies[tally];
            int kept = 0;
            for (int at = 0; at < held.size; at++) {
                double ends = (double) (held.buckets[at] * WIDTHS[tally] + after);
                if (ends <= now) {
                    user.totals[tally] -= held.amounts[at];
                } else {
                    held.buckets[kept] = held.buckets[at];
                    held.amounts[kept++] = held.amounts[at];
                    due = Math.min(due, ends);
                }
            }
            held.size = kept;
        }
        user.due = due;
    }

    private static void rebase(User user, double time) {
        double back = user.zero - time;
        double fast = Math.pow(2.0, back / FAST);
        double slow = Math.pow(2.0, back / SLOW);
        for (int at = 0; at < user.kinds; at++) {
            user.fast[at] *= fast;
            user.slow[at] *= slow;
        }
        for (long left = user.categories; left != 0; left &= left - 1) {
            user.interest[Long.numberOfTrailingZeros(left)] *= slow;
        }
        user.zero = time;
    }
}
