/* Look-ups of DPDK's rte_acl, to be alternated with Meshgate's own: compare_classifiers.sh runs both.
 *
 *   rte_acl [EAL arguments] -- RULES TRACE
 *
 * RULES is a filter set in ClassBench format, source ports and flags ignored; TRACE has a header a line, SRC DST SPORT DPORT
 * PROTO in decimal. With -p both files hold pairs of groups instead: RULES has lines SOURCE DESTINATION PROTO FIRST LAST,
 * a protocol of 256 standing for all, TRACE has lines SOURCE DESTINATION PROTO DPORT, and its first line says how many
 * packets these look-ups are for.
 *
 * All methods and batches that the processor has are tried; the best of them is timed once for each line on standard input,
 * for SECONDS of this thread's processor time, and "turn: MLOOKUPS" is printed. The first line printed says what was built.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_acl.h>
#include <rte_eal.h>
#include <rte_malloc.h>

#define FIELDS 5
#define SECONDS 0.2
#define TRIAL_SECONDS 0.1
#define TRIALS 3
#define LINE_BYTES 512

RTE_ACL_RULE_DEF(acl_rule, FIELDS);

/* What is looked up, in network order. */
struct key {
	uint8_t protocol, padding[3];
	uint32_t source, destination;
	uint16_t source_port, destination_port;
};

static const struct rte_acl_field_def fields[FIELDS] = {
	{ RTE_ACL_FIELD_TYPE_BITMASK, 1, 0, 0, offsetof(struct key, protocol) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, 1, 1, offsetof(struct key, source) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, 2, 2, offsetof(struct key, destination) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, 3, 3, offsetof(struct key, source_port) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, 4, 3, offsetof(struct key, destination_port) },
};

static const struct {
	const char *name;
	enum rte_acl_classify_alg method;
} methods[] = {
	{ "scalar", RTE_ACL_CLASSIFY_SCALAR },         { "sse", RTE_ACL_CLASSIFY_SSE },
	{ "avx2", RTE_ACL_CLASSIFY_AVX2 },             { "avx512x16", RTE_ACL_CLASSIFY_AVX512X16 },
	{ "avx512x32", RTE_ACL_CLASSIFY_AVX512X32 },
};
static const uint32_t batches[] = { 32, 64, 128, 256 };

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

struct rules {
	struct acl_rule *list;
	size_t count, room;
};

struct keys {
	struct key *list;
	const uint8_t **pointers;
	uint32_t *results;
	size_t count, room, packets;
};

static void fail(const char *what)
{
	fprintf(stderr, "rte_acl: %s\n", what);
	exit(2);
}

static double processor_seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static void *grown(void *list, size_t count, size_t *room, size_t bytes)
{
	if (count < *room)
		return list;
	*room = *room ? 2 * *room : 4096;
	list = realloc(list, *room * bytes);
	if (!list)
		fail("out of memory");
	return list;
}

/* Adds a rule behind all others: the first one that matches wins. */
static struct acl_rule *add_rule(struct rules *rules)
{
	struct acl_rule *rule;

	rules->list = grown(rules->list, rules->count, &rules->room, sizeof(*rules->list));
	rule = &rules->list[rules->count];
	memset(rule, 0, sizeof(*rule));
	rule->data.category_mask = 1;
	rule->data.priority = RTE_ACL_MAX_PRIORITY - (int32_t)rules->count;
	rule->data.userdata = (uint32_t)++rules->count;
	rule->field[3].mask_range.u16 = UINT16_MAX;
	return rule;
}

static void read_classbench(FILE *file, struct rules *rules)
{
	char line[LINE_BYTES];

	while (fgets(line, sizeof(line), file)) {
		unsigned s[4], sl, d[4], dl, s0, s1, d0, d1, protocol, mask;
		struct acl_rule *rule;

		if (sscanf(line, "@%u.%u.%u.%u/%u %u.%u.%u.%u/%u %u : %u %u : %u %x/%x", &s[0], &s[1], &s[2], &s[3], &sl,
			   &d[0], &d[1], &d[2], &d[3], &dl, &s0, &s1, &d0, &d1, &protocol, &mask) != 16)
			fail("a line of RULES is not in ClassBench format");
		rule = add_rule(rules);
		rule->field[0].value.u8 = protocol & mask;
		rule->field[0].mask_range.u8 = mask;
		rule->field[1].value.u32 = s[0] << 24 | s[1] << 16 | s[2] << 8 | s[3];
		rule->field[1].mask_range.u32 = sl;
		rule->field[2].value.u32 = d[0] << 24 | d[1] << 16 | d[2] << 8 | d[3];
		rule->field[2].mask_range.u32 = dl;
		rule->field[4].value.u16 = d0;
		rule->field[4].mask_range.u16 = d1;
	}
}

static void read_pairs(FILE *file, struct rules *rules)
{
	unsigned source, destination, protocol, first, last;

	while (fscanf(file, "%u %u %u %u %u", &source, &destination, &protocol, &first, &last) == 5) {
		struct acl_rule *rule = add_rule(rules);

		rule->field[0].value.u8 = protocol < 256 ? protocol : 0;
		rule->field[0].mask_range.u8 = protocol < 256 ? UINT8_MAX : 0;
		rule->field[1].value.u32 = source;
		rule->field[1].mask_range.u32 = 32;
		rule->field[2].value.u32 = destination;
		rule->field[2].mask_range.u32 = 32;
		rule->field[4].value.u16 = first;
		rule->field[4].mask_range.u16 = last;
	}
}

static void read_trace(FILE *file, bool is_pairs, struct keys *keys)
{
	unsigned source, destination, source_port = 0, port, protocol, packets = 0;
	char line[LINE_BYTES];

	if (is_pairs && (!fgets(line, sizeof(line), file) || sscanf(line, "%u", &packets) != 1 || !packets))
		fail("TRACE does not begin with the number of packets");
	while (fgets(line, sizeof(line), file)) {
		struct key *key;

		if (is_pairs ? sscanf(line, "%u %u %u %u", &source, &destination, &protocol, &port) != 4
			     : sscanf(line, "%u %u %u %u %u", &source, &destination, &source_port, &port, &protocol) != 5)
			fail("a line of TRACE is no header");
		keys->list = grown(keys->list, keys->count, &keys->room, sizeof(*keys->list));
		key = &keys->list[keys->count++];
		memset(key, 0, sizeof(*key));
		key->protocol = protocol;
		key->source = htonl(source);
		key->destination = htonl(destination);
		key->source_port = htons(source_port);
		key->destination_port = htons(port);
	}
	keys->packets = is_pairs ? packets : keys->count;
	keys->pointers = malloc(keys->count * sizeof(*keys->pointers));
	keys->results = malloc(keys->count * sizeof(*keys->results));
	if (!keys->pointers || !keys->results || !keys->count)
		fail("TRACE is empty or too large");
	for (size_t i = 0; i < keys->count; i++)
		keys->pointers[i] = (const uint8_t *)&keys->list[i];
}

/* Returns million packets a second. */
static double timed(struct rte_acl_ctx *context, struct keys *keys, size_t method, uint32_t batch, double seconds)
{
	double began = processor_seconds(), taken;
	size_t packets = 0;

	do {
		for (size_t i = 0; i < keys->count; i += batch) {
			uint32_t count = keys->count - i < batch ? keys->count - i : batch;

			if (rte_acl_classify_alg(context, keys->pointers + i, keys->results + i, count, 1,
						 methods[method].method))
				fail("a look-up is refused");
		}
		packets += keys->packets;
		taken = processor_seconds() - began;
	} while (taken < seconds);
	return packets / taken / 1e6;
}

int main(int count, char **arguments)
{
	struct rte_acl_config config = { .num_categories = 1, .num_fields = FIELDS };
	struct rules rules = { 0 };
	struct keys keys = { 0 };
	struct rte_malloc_socket_stats heap;
	struct rte_acl_ctx *context;
	size_t best_method = 0, bytes;
	uint32_t best_batch = batches[0];
	double best = 0, building;
	char line[LINE_BYTES];
	bool is_pairs;
	FILE *file;
	int taken = rte_eal_init(count, arguments);

	if (taken < 0)
		fail("the environment of DPDK does not start");
	count -= taken;
	arguments += taken;
	is_pairs = count > 1 && !strcmp(arguments[1], "-p");
	if (count != (is_pairs ? 4 : 3))
		fail("usage: rte_acl [EAL arguments] -- [-p] RULES TRACE");
	if (!(file = fopen(arguments[count - 2], "r")))
		fail("RULES cannot be read");
	is_pairs ? read_pairs(file, &rules) : read_classbench(file, &rules);
	fclose(file);
	if (!(file = fopen(arguments[count - 1], "r")))
		fail("TRACE cannot be read");
	read_trace(file, is_pairs, &keys);
	fclose(file);

	struct rte_acl_param parameters = {
		.name = "compared",
		.socket_id = SOCKET_ID_ANY,
		.rule_size = RTE_ACL_RULE_SZ(FIELDS),
		.max_rule_num = (uint32_t)rules.count,
	};
	memcpy(config.defs, fields, sizeof(fields));
	context = rte_acl_create(&parameters);
	if (!context || rte_acl_add_rules(context, (const struct rte_acl_rule *)rules.list, (uint32_t)rules.count))
		fail("the rules are refused");
	rte_malloc_get_socket_stats(0, &heap);
	bytes = heap.heap_allocsz_bytes;
	building = processor_seconds();
	if (rte_acl_build(context, &config))
		fail("the rules cannot be compiled");
	building = processor_seconds() - building;
	rte_malloc_get_socket_stats(0, &heap);
	bytes = heap.heap_allocsz_bytes - bytes;

	for (size_t method = 0; method < COUNT(methods); method++) {
		/* Only this asks whether the processor has it. */
		if (rte_acl_set_ctx_classify(context, methods[method].method))
			continue;
		for (size_t batch = 0; batch < COUNT(batches); batch++)
			for (int trial = 0; trial < TRIALS; trial++) {
				double rate = timed(context, &keys, method, batches[batch], TRIAL_SECONDS);

				if (rate > best) {
					best = rate;
					best_method = method;
					best_batch = batches[batch];
				}
			}
	}
	printf("built: %zu rules in %.3f s, %zu bytes; best is %s in batches of %" PRIu32 "\n", rules.count, building, bytes,
	       methods[best_method].name, best_batch);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		printf("turn: %.3f\n", timed(context, &keys, best_method, best_batch, SECONDS));
		fflush(stdout);
	}
	return 0;
}
