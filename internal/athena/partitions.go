package athena

import (
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"spoor/internal/athena/sql"
	"spoor/internal/glue"
)

// maxProjected bounds the partitions that projection makes for one query.
const maxProjected = 1_000_000

// place is where rows of one partition lie, with the partition's values.
type place struct {
	location string
	values   []string
}

// projection makes the places of a table with partition projection (Athena
// user guide, "Partition projection"), leaving out those that the query's
// predicates exclude.
func projection(t *glue.Table, preds []sql.Predicate, now time.Time) ([]place, error) {
	var missing []string
	ranges := make([][]string, len(t.PartitionKeys))
	for i, k := range t.PartitionKeys {
		if t.Parameters["projection."+k.Name+".type"] == "" {
			missing = append(missing, k.Name)
			continue
		}
		values, err := projected(t, k.Name, preds, now)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			if passes(k.Name, v, preds) {
				ranges[i] = append(ranges[i], v)
			}
		}
	}
	if len(missing) > 0 {
		return nil, userError(1000, "HIVE_METASTORE_ERROR: Table %[1]s.%[2]s is configured for partition projection, but the following partition columns are missing projection configuration: [%[3]s] (table %[1]s.%[2]s)",
			t.Database, t.Name, strings.Join(missing, ", "))
	}
	out := []place{{}}
	for _, values := range ranges {
		if len(out)*len(values) > maxProjected {
			return nil, userError(1000, "HIVE_EXCEEDED_PARTITION_LIMIT: Query over table '%s.%s' can potentially read more than %d partitions", t.Database, t.Name, maxProjected)
		}
		next := make([]place, 0, len(out)*len(values))
		for _, p := range out {
			for _, v := range values {
				next = append(next, place{values: append(p.values[:len(p.values):len(p.values)], v)})
			}
		}
		out = next
	}
	template := t.Parameters["storage.location.template"]
	for i := range out {
		out[i].location = locate(t, template, out[i].values)
	}
	return out, nil
}

func locate(t *glue.Table, template string, values []string) string {
	if template == "" {
		loc := strings.TrimSuffix(t.Location, "/") + "/"
		for i, k := range t.PartitionKeys {
			loc += k.Name + "=" + values[i] + "/"
		}
		return loc
	}
	for i, k := range t.PartitionKeys {
		template = strings.ReplaceAll(template, "${"+k.Name+"}", values[i])
	}
	return template
}

func projected(t *glue.Table, name string, preds []sql.Predicate, now time.Time) ([]string, error) {
	get := func(prop string) string { return t.Parameters["projection."+name+"."+prop] }
	bad := func(why string) error {
		return userError(1000, "INVALID_TABLE_PROPERTY: projection of column %s of table %s.%s: %s", name, t.Database, t.Name, why)
	}
	switch strings.ToLower(get("type")) {
	case "enum":
		var out []string
		for _, v := range strings.Split(get("values"), ",") {
			out = append(out, strings.TrimSpace(v))
		}
		return out, nil
	case "integer":
		lo, hi, ok := strings.Cut(get("range"), ",")
		a, err1 := strconv.ParseInt(strings.TrimSpace(lo), 10, 64)
		b, err2 := strconv.ParseInt(strings.TrimSpace(hi), 10, 64)
		if !ok || err1 != nil || err2 != nil || b-a > maxProjected {
			return nil, bad("its range is not two numbers")
		}
		step := int64(1)
		if s := get("interval"); s != "" {
			if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 {
				step = n
			}
		}
		digits, _ := strconv.Atoi(get("digits"))
		var out []string
		for v := a; v <= b; v += step {
			out = append(out, fmt.Sprintf("%0*d", digits, v))
		}
		return out, nil
	case "date":
		return projectedDates(get, bad, now)
	case "injected":
		for _, p := range preds {
			if p.Column == name && (p.Op == "=" || p.Op == "IN") {
				return p.Values, nil
			}
		}
		return nil, userError(1000, "CONSTRAINT_VIOLATION: For the injected projected partition column %s, the WHERE clause must contain only static equality conditions, and at least one such condition must be present", name)
	}
	return nil, bad("its type is none of enum, integer, date, injected")
}

func projectedDates(get func(string) string, bad func(string) error, now time.Time) ([]string, error) {
	layout, ok := javaLayout(get("format"))
	if !ok {
		return nil, bad("its format is not supported")
	}
	lo, hi, cut := strings.Cut(get("range"), ",")
	from, ok1 := projectedDate(strings.TrimSpace(lo), layout, now)
	to, ok2 := projectedDate(strings.TrimSpace(hi), layout, now)
	if !cut || !ok1 || !ok2 {
		return nil, bad("its range is not two dates")
	}
	n, unit := 1, strings.ToUpper(get("interval.unit"))
	if s := get("interval"); s != "" {
		v, err := strconv.Atoi(s)
		if err != nil || v < 1 {
			return nil, bad("its interval is not a number")
		}
		n = v
	}
	if unit == "" {
		unit = "DAYS"
		if !strings.Contains(layout, "02") {
			unit = "MONTHS"
		}
	}
	var out []string
	for at := from; !at.After(to); at = advance(at, n, unit) {
		if len(out) > maxProjected {
			return nil, bad("it gives too many partitions")
		}
		if v := at.Format(layout); len(out) == 0 || out[len(out)-1] != v {
			out = append(out, v)
		}
	}
	return out, nil
}

func advance(t time.Time, n int, unit string) time.Time {
	switch strings.TrimSuffix(unit, "S") {
	case "YEAR":
		return t.AddDate(n, 0, 0)
	case "MONTH":
		return t.AddDate(0, n, 0)
	case "WEEK":
		return t.AddDate(0, 0, 7*n)
	case "HOUR":
		return t.Add(time.Duration(n) * time.Hour)
	case "MINUTE":
		return t.Add(time.Duration(n) * time.Minute)
	case "SECOND":
		return t.Add(time.Duration(n) * time.Second)
	}
	return t.AddDate(0, 0, n)
}

// projectedDate reads a date, or NOW with an offset such as NOW-3YEARS.
func projectedDate(s, layout string, now time.Time) (time.Time, bool) {
	if rest, ok := strings.CutPrefix(strings.ToUpper(s), "NOW"); ok {
		now = now.UTC()
		if rest == "" {
			return now, true
		}
		rest = strings.ReplaceAll(rest, " ", "")
		i := strings.IndexFunc(rest[1:], func(r rune) bool { return r < '0' || r > '9' }) + 1
		if i < 1 {
			return now, false
		}
		n, err := strconv.Atoi(rest[:i])
		return advance(now, n, rest[i:]), err == nil
	}
	t, err := time.Parse(layout, s)
	return t, err == nil
}

// javaLayout turns a java.time pattern into Go's.
func javaLayout(p string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(p); {
		c := p[i]
		n := 1
		for i+n < len(p) && p[i+n] == c {
			n++
		}
		switch {
		case c == '\'':
			end := strings.IndexByte(p[i+1:], '\'')
			if end < 0 {
				return "", false
			}
			b.WriteString(p[i+1 : i+1+end])
			i += end + 2
			continue
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			g, ok := map[string]string{"yyyy": "2006", "yy": "06", "MM": "01", "M": "1", "dd": "02", "d": "2", "HH": "15", "mm": "04", "ss": "05"}[p[i:i+n]]
			if !ok {
				return "", false
			}
			b.WriteString(g)
		default:
			b.WriteString(p[i : i+n])
		}
		i += n
	}
	return b.String(), b.Len() > 0
}

// passes reports whether a partition's value can hold rows that the query
// wants. Values are compared as texts when the predicate's are, and as numbers
// when both are.
func passes(name, value string, preds []sql.Predicate) bool {
	for _, p := range preds {
		if p.Column != name {
			continue
		}
		ok := false
		for _, want := range p.Values {
			c := compareValues(value, want)
			switch p.Op {
			case "=", "IN":
				ok = ok || c == 0
			case "<":
				ok = c < 0
			case "<=":
				ok = c <= 0
			case ">":
				ok = c > 0
			case ">=":
				ok = c >= 0
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

func compareValues(a, b string) int {
	x, err1 := strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(b, 10, 64)
	if err1 == nil && err2 == nil {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	return strings.Compare(a, b)
}

// places are where a table's rows lie: its location, its partitions', or the
// projected ones.
func (s *Service) places(scope glue.Scope, t *glue.Table, preds []sql.Predicate) ([]place, error) {
	if len(t.PartitionKeys) == 0 {
		return []place{{location: t.Location}}, nil
	}
	if strings.EqualFold(t.Parameters["projection.enabled"], "true") {
		return projection(t, preds, s.cfg.Now())
	}
	parts, err := s.cfg.Catalog.Partitions(scope, t.Database, t.Name)
	if err != nil {
		return nil, err
	}
	var out []place
	for _, p := range parts {
		ok := true
		for i, k := range t.PartitionKeys {
			ok = ok && i < len(p.Values) && passes(k.Name, p.Values[i], preds)
		}
		if ok {
			out = append(out, place{p.Location, p.Values})
		}
	}
	return out, nil
}

// splitLocation cuts s3://bucket/prefix.
func splitLocation(loc string) (bucket, prefix string, ok bool) {
	rest, ok := strings.CutPrefix(loc, "s3://")
	if !ok {
		return "", "", false
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	return bucket, prefix, bucket != ""
}

// partitionValues reads key=value directories of a path below a table's
// location, for MSCK REPAIR TABLE.
func partitionValues(keys []glue.Column, rest string) ([]string, string, bool) {
	segments := strings.Split(rest, "/")
	if len(segments) <= len(keys) {
		return nil, "", false
	}
	values := make([]string, len(keys))
	for i, k := range keys {
		name, v, ok := strings.Cut(segments[i], "=")
		if !ok || !strings.EqualFold(name, k.Name) {
			return nil, "", false
		}
		if u, err := url.PathUnescape(v); err == nil {
			v = u
		}
		values[i] = v
	}
	return values, strings.Join(segments[:len(keys)], "/") + "/", true
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
