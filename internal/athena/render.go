package athena

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"time"

	"spoor/internal/athena/sql"
	"spoor/internal/engine/duckdb"
)

// render gives a value's text as Athena writes it in results; ok is false for
// NULL. Values come typed from the engine: its own casts to text differ from
// Athena's.
func render(v any, t sql.Type) (text string, ok bool) {
	if v == nil {
		return "", false
	}
	switch x := v.(type) {
	case bool:
		return strconv.FormatBool(x), true
	case string:
		if t.Name == "json" {
			return canonicalJSON(x), true
		}
		return x, true
	case []byte:
		if t.Name == "uuid" && len(x) == 16 {
			return fmt.Sprintf("%x-%x-%x-%x-%x", x[0:4], x[4:6], x[6:8], x[8:10], x[10:16]), true
		}
		return hexPairs(x), true
	case int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		return fmt.Sprint(x), true
	case float32:
		return javaFloat(float64(x), 32), true
	case float64:
		return javaFloat(x, 64), true
	case *big.Int:
		return x.String(), true
	case duckdb.Decimal:
		return decimal(x), true
	case duckdb.UUID:
		return x.String(), true
	case duckdb.Interval:
		return interval(x), true
	case time.Time:
		return renderTime(x, t), true
	case []any:
		return renderList(x, t), true
	case duckdb.OrderedMap:
		return renderMap(x.Keys(), x.Values(), t), true
	case *duckdb.OrderedMap:
		return renderMap(x.Keys(), x.Values(), t), true
	case map[string]any:
		if len(t.Fields) == 0 {
			return compactJSON(x), true
		}
		return renderRow(x, t), true
	}
	return fmt.Sprint(v), true
}

func hexPairs(b []byte) string {
	parts := make([]string, len(b))
	for i, c := range b {
		parts[i] = fmt.Sprintf("%02x", c)
	}
	return strings.Join(parts, " ")
}

func compactJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// canonicalJSON is JSON's text as Trino keeps it: without spaces, names in
// order, numbers as they were written.
func canonicalJSON(text string) string {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return text
	}
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return text
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// javaFloat is Double.toString and Float.toString of Java: plain digits from
// 10^-3 up to 10^7, else computerized scientific notation.
func javaFloat(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == 0:
		if math.Signbit(f) {
			return "-0.0"
		}
		return "0.0"
	}
	if a := math.Abs(f); a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, bits)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exp, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, bits), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exp) // 'e' always prints a valid exponent
	return mantissa + "E" + strconv.Itoa(n)
}

// decimal prints all digits of the scale.
func decimal(d duckdb.Decimal) string {
	s := new(big.Int).Abs(d.Value).String()
	if n := int(d.Scale); n > 0 {
		for len(s) <= n {
			s = "0" + s
		}
		s = s[:len(s)-n] + "." + s[len(s)-n:]
	}
	if d.Value.Sign() < 0 {
		s = "-" + s
	}
	return s
}

// interval is Trino's text of intervals: "1-2" years and months, or
// "3 04:05:06.789".
func interval(i duckdb.Interval) string {
	if i.Months != 0 && i.Days == 0 && i.Micros == 0 {
		return fmt.Sprintf("%d-%d", i.Months/12, i.Months%12)
	}
	ms := i.Micros / 1000
	days := int64(i.Days) + ms/86_400_000
	ms %= 86_400_000
	return fmt.Sprintf("%d %02d:%02d:%02d.%03d", days, ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}

func renderTime(x time.Time, t sql.Type) string {
	x = x.UTC()
	switch t.Name {
	case "date":
		return x.Format("2006-01-02")
	case "time":
		return x.Format("15:04:05.000")
	case "timestamp with time zone":
		return x.Format("2006-01-02 15:04:05.000") + " UTC"
	}
	if len(t.Params) == 1 && t.Params[0] > 3 {
		return x.Format("2006-01-02 15:04:05." + strings.Repeat("0", t.Params[0]))
	}
	return x.Format("2006-01-02 15:04:05.000")
}

func elemType(t sql.Type, i int) sql.Type {
	if i < len(t.Elems) {
		return t.Elems[i]
	}
	return sql.Type{}
}

func inner(v any, t sql.Type) string {
	s, ok := render(v, t)
	if !ok {
		return "null"
	}
	return s
}

func renderList(x []any, t sql.Type) string {
	parts := make([]string, len(x))
	for i, e := range x {
		parts[i] = inner(e, elemType(t, 0))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// renderMap orders the entries by their keys: numbers by value, others by text.
func renderMap(keys, values []any, t sql.Type) string {
	type entry struct {
		text   string
		number float64
		value  string
	}
	entries := make([]entry, len(keys))
	numbers := true
	for i, k := range keys {
		e := entry{text: inner(k, elemType(t, 0)), value: inner(values[i], elemType(t, 1))}
		n, err := strconv.ParseFloat(e.text, 64)
		_, isText := k.(string)
		e.number, numbers = n, numbers && err == nil && !isText
		entries[i] = e
	}
	sort.SliceStable(entries, func(i, j int) bool {
		if numbers {
			return entries[i].number < entries[j].number
		}
		return entries[i].text < entries[j].text
	})
	parts := make([]string, len(entries))
	for i, e := range entries {
		parts[i] = e.text + "=" + e.value
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func renderRow(m map[string]any, t sql.Type) string {
	parts := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		if f == "" { // the engine names it by its number
			f = "field" + strconv.Itoa(i)
		}
		v := inner(m[f], elemType(t, i))
		if strings.HasPrefix(f, "field") {
			if _, err := strconv.Atoi(f[len("field"):]); err == nil { // an unnamed field
				parts[i] = v
				continue
			}
		}
		parts[i] = f + "=" + v
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
