/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommand machine: on which machine, and on which day, something is measured. */
#include "machine.h"

#include <stdio.h>
#include <sys/utsname.h>

#include <pagelock/version.h>

#include "bench.h"

/* The processor field of /proc/cpuinfo with that name, which the caller frees; NULL: there is none. */
static char *field(const char *cpuinfo, const char *name)
{
    char *pattern = g_strdup_printf("^%s\\s*: (.*)$", name), *value = NULL;
    GRegex *regex = g_regex_new(pattern, G_REGEX_MULTILINE, 0, NULL);
    GMatchInfo *match;

    if (g_regex_match(regex, cpuinfo, 0, &match)) {
        value = g_match_info_fetch(match, 1);
    }
    g_match_info_free(match);
    g_regex_unref(regex);
    g_free(pattern);
    return value;
}

static unsigned number_field(const char *cpuinfo, const char *name)
{
    char *value = field(cpuinfo, name);
    unsigned number = value ? (unsigned)g_ascii_strtoull(value, NULL, 10) : 0;

    g_free(value);
    return number;
}

/* AMD's processors of a family and model often call themselves AMD EPYC and no more. */
static const char *generation(unsigned family, unsigned model)
{
    const unsigned high = model >> 4;

    switch (family) {
    case 23:
        return high >= 3 ? ", Zen 2" : ", Zen";
    case 25:
        return high == 1 || high == 6 || high == 7 || high == 10 ? ", Zen 4" : ", Zen 3";
    case 26:
        return ", Zen 5";
    default:
        return "";
    }
}

char *machine_processor_of(const char *cpuinfo)
{
    char *said = field(cpuinfo, "model name"), *short_name, *name;
    GRegex *noise = g_regex_new("\\((R|TM)\\)| @.*|,? \\d+-Core| (CPU|Processor)\\b", 0, 0, NULL);
    bool amd = said && g_str_has_prefix(said, "AMD");

    short_name = g_regex_replace_literal(noise, said ? said : "unknown processor", -1, 0, "", 0, NULL);
    name =
        g_strconcat(g_strstrip(short_name),
                    amd ? generation(number_field(cpuinfo, "cpu family"), number_field(cpuinfo, "model")) : "", NULL);
    g_regex_unref(noise);
    g_free(short_name);
    g_free(said);
    return name;
}

char *machine_processor(void)
{
    char *cpuinfo = NULL, *name;

    g_file_get_contents("/proc/cpuinfo", &cpuinfo, NULL, NULL);
    name = machine_processor_of(cpuinfo ? cpuinfo : "");
    g_free(cpuinfo);
    return name;
}

char *machine_date(void)
{
    GDateTime *now = g_date_time_new_now_utc();
    char *date = g_date_time_format(now, "%Y-%m-%d");

    g_date_time_unref(now);
    return date;
}

int machine_main(int argc, char **argv)
{
    char *processor, *date, *system;
    struct utsname name;
    bool json;

    if (!options_parse(NULL, "- the machine and the day", NULL, &argc, &argv, &json)) {
        return STATUS_USAGE;
    }
    if (argc > 1) {
        return usage_error("machine takes no argument: %s", argv[1]);
    }
    uname(&name);
    processor = machine_processor();
    date = machine_date();
    system = g_strdup_printf("%s %s %s", name.sysname, name.release, name.machine);
    if (json) {
        JsonBuilder *row = row_begin("machine");

        row_text(row, "processor", processor);
        row_count(row, "processors", g_get_num_processors());
        row_text(row, "system", system);
        row_text(row, "date", date);
        row_text(row, "version", pgl_version());
        row_end(row);
    } else {
        printf("%s, %u of them\n%s\n%s\nlibpagelock %s\n", processor, g_get_num_processors(), system, date,
               pgl_version());
    }
    g_free(processor);
    g_free(date);
    g_free(system);
    return STATUS_GOOD;
}
