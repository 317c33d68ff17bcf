package sql

import (
	"strconv"
	"strings"
)

// duckTypes are DuckDB's names of scalar types and Trino's for them.
var duckTypes = map[string]Type{
	"BOOLEAN": simple("boolean"), "TINYINT": simple("tinyint"), "SMALLINT": simple("smallint"), "INTEGER": simple("integer"), "BIGINT": simple("bigint"),
	"UTINYINT": simple("smallint"), "USMALLINT": simple("integer"), "UINTEGER": simple("bigint"), "UBIGINT": {Name: "decimal", Params: []int{20, 0}},
	"HUGEINT": {Name: "decimal", Params: []int{38, 0}}, "FLOAT": simple("real"), "DOUBLE": simple("double"), "VARCHAR": simple("varchar"), "BLOB": simple("varbinary"),
	"DATE": simple("date"), "TIME": {Name: "time", Params: []int{3}}, "TIMESTAMP": {Name: "timestamp", Params: []int{3}}, "TIMESTAMP_MS": {Name: "timestamp", Params: []int{3}},
	"TIMESTAMP_S": {Name: "timestamp", Params: []int{3}}, "TIMESTAMP_NS": {Name: "timestamp", Params: []int{9}},
	"TIMESTAMPTZ": {Name: "timestamp with time zone", Params: []int{3}}, "TIMESTAMP WITH TIME ZONE": {Name: "timestamp with time zone", Params: []int{3}},
	"UUID": simple("uuid"), "JSON": simple("json"), "INTERVAL": simple("interval day to second"), "SQLNULL": simple("unknown"), `"NULL"`: simple("unknown"), "NULL": simple("unknown"),
}

// TrinoType is the Trino type of one that DuckDB names in a result.
func TrinoType(name string) Type {
	t, rest := duckType(strings.TrimSpace(name))
	if rest != "" {
		return simple("varchar")
	}
	return t
}

// duckType reads one type and returns what follows it.
func duckType(s string) (Type, string) {
	var t Type
	upper := strings.ToUpper(s)
	switch {
	case strings.HasPrefix(upper, "STRUCT("):
		t, s = duckStruct(s[len("STRUCT("):])
	case strings.HasPrefix(upper, "MAP("):
		var k, v Type
		k, s = duckType(s[len("MAP("):])
		v, s = duckType(strings.TrimLeft(strings.TrimPrefix(s, ","), " "))
		t, s = Type{Name: "map", Elems: []Type{k, v}}, strings.TrimPrefix(s, ")")
	case strings.HasPrefix(upper, "DECIMAL("):
		end := strings.IndexByte(s, ')')
		if end < 0 {
			return simple("varchar"), ""
		}
		p, sc, _ := strings.Cut(s[len("DECIMAL("):end], ",")
		precision, _ := strconv.Atoi(strings.TrimSpace(p))
		scale, _ := strconv.Atoi(strings.TrimSpace(sc))
		t, s = Type{Name: "decimal", Params: []int{precision, scale}}, s[end+1:]
	default:
		end := strings.IndexAny(s, ",)[")
		if end < 0 {
			end = len(s)
		}
		var ok bool
		if t, ok = duckTypes[strings.ToUpper(strings.TrimSpace(s[:end]))]; !ok {
			t = simple("varchar")
		}
		s = s[end:]
	}
	for strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			break
		}
		t, s = Type{Name: "array", Elems: []Type{t}}, s[end+1:]
	}
	return t, s
}

// duckStruct reads the fields of a struct: "name" TYPE, …)
func duckStruct(s string) (Type, string) {
	t := Type{Name: "row"}
	for s != "" && s[0] != ')' {
		s = strings.TrimLeft(s, ", ")
		name := ""
		if strings.HasPrefix(s, `"`) {
			text, n, ok := quoted(s, '"')
			if !ok {
				return t, ""
			}
			name, s = text, s[n:]
		} else if i := strings.IndexByte(s, ' '); i >= 0 {
			name, s = s[:i], s[i:]
		}
		var e Type
		e, s = duckType(strings.TrimLeft(s, " "))
		t.Fields, t.Elems = append(t.Fields, name), append(t.Elems, e)
	}
	return t, strings.TrimPrefix(s, ")")
}
