package athena

import (
	"fmt"
	"regexp"
	"strings"

	"spoor/internal/athena/sql"
)

// engineErrors are the errors of users that only the engine finds, with Trino's
// name and text for each.
var engineErrors = []struct {
	pattern *regexp.Regexp
	trino   func(m []string) string
}{
	{regexp.MustCompile(`column "([^"]*)" must appear in the GROUP BY clause`), func(m []string) string {
		return fmt.Sprintf("EXPRESSION_NOT_AGGREGATE: '%s' must be an aggregate expression or appear in GROUP BY clause", m[1])
	}},
	{regexp.MustCompile(`(GROUP BY|ORDER) term out of range`), func(m []string) string {
		return "INVALID_COLUMN_REFERENCE: " + strings.TrimSuffix(m[1], " BY") + " BY position is not in select list"
	}},
	{regexp.MustCompile(`Overflow in (addition|subtraction|multiplication) of (\w+) \(([^)]*)\)`), func(m []string) string {
		return fmt.Sprintf("NUMERIC_VALUE_OUT_OF_RANGE: %s %s overflow: %s", engineType(m[2]), m[1], m[3])
	}},
	{regexp.MustCompile(`Type \w+ with value (\S+) can't be cast because the value is out of range for the destination type (\w+)`), func(m []string) string {
		return fmt.Sprintf("INVALID_CAST_ARGUMENT: Out of range for %s: %s", engineType(m[2]), m[1])
	}},
	{regexp.MustCompile(`(?s)Malformed JSON at byte .*?Input: "([^\n]*)"`), func(m []string) string {
		return fmt.Sprintf("INVALID_FUNCTION_ARGUMENT: Cannot convert value to JSON: '%s'", m[1])
	}},
	{regexp.MustCompile(`No function matches the given name and argument types '([^(']+)\(([^']*)\)'`), func(m []string) string {
		types := strings.Split(m[2], ", ")
		for i, t := range types {
			types[i] = engineType(t)
		}
		return fmt.Sprintf("FUNCTION_NOT_FOUND: Unexpected parameters (%s) for function %s", strings.Join(types, ", "), m[1])
	}},
}

// trinoError is the engine's error in Trino's words where they are known, else
// the first line of its own, which is about the query that ran.
func trinoError(text string) string {
	for _, e := range engineErrors {
		if m := e.pattern.FindStringSubmatch(text); m != nil {
			return e.trino(m)
		}
	}
	first, _, _ := strings.Cut(text, "\n")
	return "GENERIC_USER_ERROR: " + first
}

// engineType is Trino's name of a type in the engine's errors, which call
// integers by their width and constants literals.
func engineType(s string) string {
	switch s = strings.TrimSuffix(s, "_LITERAL"); s {
	case "INT8":
		return "tinyint"
	case "INT16":
		return "smallint"
	case "INT32":
		return "integer"
	case "INT64":
		return "bigint"
	case "STRING":
		return "varchar"
	}
	if t := sql.TrinoType(s); t.Known() {
		return t.String()
	}
	return strings.ToLower(s)
}
