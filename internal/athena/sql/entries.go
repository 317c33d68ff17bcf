package sql

import "fmt"

// maxEntries is how many entries sequence and repeat may make (Trino's
// documentation, "Array functions"). The engine has no such limit, and what it
// makes of one row is outside of its memory's limit: a short query could take
// all memory of the host. So the arguments are cut before they reach the engine,
// which evaluates constant parts of a CASE whether or not they are reached.
const maxEntries = 10_000

func repeat(_ *Call, a []argument) (string, Type, error) {
	n := "CAST(" + a[1].sql + " AS BIGINT)"
	return fmt.Sprintf("(CASE WHEN %[1]s IS NULL THEN NULL "+
		"WHEN %[1]s < 0 THEN error('INVALID_FUNCTION_ARGUMENT: count argument of repeat function must be greater than or equal to 0') "+
		"WHEN %[1]s > %[2]d THEN error('INVALID_FUNCTION_ARGUMENT: count argument of repeat function must be less than or equal to %[2]d') "+
		"ELSE list_transform(range(least(greatest(%[1]s, 0), %[2]d)), lambda _i: %[3]s) END)", n, maxEntries, a[0].sql), arrayOf(a[0].typ), nil
}

// maxPadded is how many characters lpad and rpad make. Trino's bound is 2^31-1,
// under its limit on a query's memory; the engine's limit does not see the
// texts of a vector while they are made.
const maxPadded = 1 << 16

func pad(name string) func(*Call, []argument) (string, Type, error) {
	return func(_ *Call, a []argument) (string, Type, error) {
		n := "CAST(" + a[1].sql + " AS BIGINT)"
		return fmt.Sprintf("(CASE WHEN %[1]s IS NULL THEN NULL WHEN %[1]s < 0 OR %[1]s > %[2]d THEN error('INVALID_FUNCTION_ARGUMENT: Target length must be in the range [0..%[2]d]') "+
			"ELSE %[3]s(%[4]s, CAST(least(greatest(%[1]s, 0), %[2]d) AS INTEGER), %[5]s) END)", n, maxPadded, name, a[0].sql, a[2].sql), simple("varchar"), nil
	}
}

func sequence(_ *Call, a []argument) (string, Type, error) {
	tooMany := fmt.Sprintf("error('INVALID_FUNCTION_ARGUMENT: result of sequence function must not have more than %d entries')", maxEntries)
	t := arrayOf(a[0].typ)
	switch a[0].typ.Name {
	case "date", "timestamp", "timestamp with time zone":
		step := "INTERVAL 1 DAY"
		if len(a) == 3 {
			step = a[2].sql
		}
		// A date this far on may not exist; then the end is nearer.
		far := fmt.Sprintf("coalesce(try(%s + (%s) * %d), %s)", a[0].sql, step, maxEntries, a[1].sql)
		list := fmt.Sprintf("generate_series(%[1]s + INTERVAL 0 DAY, CASE WHEN %[1]s + (%[2]s) > %[1]s THEN least(%[3]s, %[4]s) ELSE greatest(%[3]s, %[4]s) END, %[2]s)",
			a[0].sql, step, a[1].sql, far)
		return fmt.Sprintf("(CASE WHEN %[4]s IS NULL OR %[5]s IS NULL THEN NULL WHEN len(%[1]s) > %[2]d THEN %[3]s ELSE %[1]s END)",
			list, maxEntries, tooMany, a[0].sql, a[1].sql), t, nil
	}
	start, stop := "CAST("+a[0].sql+" AS BIGINT)", "CAST("+a[1].sql+" AS BIGINT)"
	step := "(CASE WHEN " + start + " <= " + stop + " THEN 1 ELSE -1 END)"
	if len(a) == 3 {
		step = "CAST(" + a[2].sql + " AS BIGINT)"
	}
	far := fmt.Sprintf("(CAST(%s AS HUGEINT) + CAST(%s AS HUGEINT) * %d)", start, step, maxEntries)
	list := fmt.Sprintf("generate_series(%[1]s, CAST(CASE WHEN %[3]s > 0 THEN least(CAST(%[2]s AS HUGEINT), %[4]s) ELSE greatest(CAST(%[2]s AS HUGEINT), %[4]s) END AS BIGINT), %[3]s)",
		start, stop, step, far)
	return fmt.Sprintf("(CASE WHEN %[1]s IS NULL OR %[2]s IS NULL THEN NULL WHEN %[3]s = 0 THEN error('INVALID_FUNCTION_ARGUMENT: step must not be zero') "+
		"WHEN (%[3]s > 0 AND %[1]s > %[2]s) OR (%[3]s < 0 AND %[1]s < %[2]s) THEN error('INVALID_FUNCTION_ARGUMENT: sequence stop value should be greater than or equal to start value if step is greater than zero otherwise stop should be less than or equal to start') "+
		"WHEN len(%[4]s) > %[5]d THEN %[6]s ELSE %[4]s END)", start, stop, step, list, maxEntries, tooMany), t, nil
}
