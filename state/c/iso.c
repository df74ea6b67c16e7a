/* ISO 8601 times as nearly all producers write them: YYYY-MM-DD, or YYYY-MM-DDTHH:MM[:SS[.f...]] (or a blank instead
 * of the T), with Z, +HH:MM, +HHMM, +HH (or -) or nothing, which is UTC. Python knows more forms, and what is wrong. */
#include "scan.h"

#define EXACT (1LL << 53)

static int two(const char *at)
{
    return is_digit(at[0]) && is_digit(at[1]) ? (at[0] - '0') * 10 + at[1] - '0' : -1;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

/* days from 1970-01-01 on: years that begin in March, in cycles of 400 */
static int64_t day_number(int year, int month, int day)
{
    year -= month <= 2;
    int cycle = year / 400, of_cycle = year % 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return (int64_t)cycle * 146097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719468;
}

/* seconds that the zone's clocks are ahead of UTC */
static int zone(const char *at, const char *end, int *ahead)
{
    *ahead = 0;
    if (at == end || (*at == 'Z' && end - at == 1))
        return 1;
    if ((*at != '+' && *at != '-') || (end - at != 6 && end - at != 5 && end - at != 3) || (end - at == 6 && at[3] != ':'))
        return 0;
    int hours = two(at + 1), minutes = end - at == 3 ? 0 : two(end - 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return 0;
    *ahead = (hours * 60 + minutes) * (*at == '-' ? -60 : 60);
    return 1;
}

int iso_seconds(const char *at, Py_ssize_t size, double *seconds)
{
    const char *end = at + size;
    if (size < 10 || at[4] != '-' || at[7] != '-')
        return 0;
    int century = two(at), of_century = two(at + 2), month = two(at + 5), day = two(at + 8);
    int year = century * 100 + of_century, hour = 0, minute = 0, second = 0, ahead = 0;
    if (century < 0 || of_century < 0 || year < 1 || month < 1 || month > 12 || day < 1 || day > days_of(year, month))
        return 0;
    int64_t micros = 0;
    at += 10;
    if (at < end) {
        if (end - at < 6 || (*at != 'T' && *at != ' ') || at[3] != ':')
            return 0;
        hour = two(at + 1);
        minute = two(at + 4);
        at += 6;
        if (at < end && *at == ':') {
            if (end - at < 3)
                return 0;
            second = two(at + 1);
            at += 3;
            if (at < end && *at == '.') {
                const char *begin = ++at;
                for (int64_t worth = 100000; at < end && is_digit(*at); at++, worth /= 10)
                    micros += worth * (*at - '0'); /* from the seventh digit on nothing: it is cut, not rounded */
                if (at == begin)
                    return 0;
            }
        }
        if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 || !zone(at, end, &ahead))
            return 0;
    }
    micros += (day_number(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - ahead) * 1000000;
    if (micros <= 0 || micros > EXACT)
        return 0;
    *seconds = (double)micros / 1e6; /* both are exact, so it is rounded once */
    return 1;
}
