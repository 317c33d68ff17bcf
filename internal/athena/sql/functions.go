package sql

import (
	"fmt"
	"strconv"
	"strings"
)

// function is how one Trino function is written in DuckDB's dialect. A name
// that is not in the table is not registered, whatever DuckDB has.
type function struct {
	min, max  int // number of arguments; max -1 is any number
	aggregate bool
	window    bool
	lambda    bool
	make      func(c *Call, a []argument) (string, Type, error)
	agg       func(a []argument) aggregated
}

// aggregated is an aggregate's parts: name(args), wrapped in a format.
type aggregated struct {
	name, args, wrap string
	typ              Type
	err              error
}

func (f function) aggregateSQL(c *Call, a []argument, inner, tail, behind string) (string, Type, error) {
	if c.Star {
		return "count(*)" + behind, simple("bigint"), nil
	}
	g := f.agg(a)
	if g.err != nil {
		return "", Type{}, semantic("NOT_SUPPORTED", c.At, "%s", g.err)
	}
	sql := g.name + "(" + inner + g.args + tail + ")" + behind
	if g.wrap != "" {
		sql = fmt.Sprintf(g.wrap, sql)
	}
	return sql, g.typ, nil
}

var (
	varchar   = simple("varchar")
	bigint    = simple("bigint")
	double    = simple("double")
	boolean   = simple("boolean")
	date      = simple("date")
	jsonType  = simple("json")
	timestamp = Type{Name: "timestamp", Params: []int{3}}
	instant   = Type{Name: "timestamp with time zone", Params: []int{3}}
)

func arrayOf(t Type) Type { return Type{Name: "array", Elems: []Type{t}} }

// elem is an array's element type, unknown where the array is.
func elem(t Type) Type {
	if t.Name == "array" {
		return t.Elems[0]
	}
	return Type{}
}

var functions = map[string]function{}

// template registers a function whose SQL is a format: $1, $2 … are its
// arguments, $* all of them.
func template(names string, min, max int, t Type, format string) {
	for _, n := range strings.Fields(names) {
		functions[n] = function{min: min, max: max, make: func(_ *Call, a []argument) (string, Type, error) {
			return fill(format, a), t, nil
		}}
	}
}

// fill puts arguments into a format, in one pass: what is in an argument, such as
// a text with a dollar, is no format.
func fill(format string, a []argument) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(format, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.Atoi(rest[:digits])
		switch {
		case strings.HasPrefix(rest, "*"):
			for i, x := range a {
				if i > 0 {
					b.WriteString(", ")
				}
				b.WriteString(x.sql)
			}
			digits = 1
		case err == nil && n >= 1 && n <= len(a):
			b.WriteString(a[n-1].sql)
		default:
			b.WriteString("$" + rest[:digits])
		}
		format = rest[digits:]
	}
}

// typed is template with a type that depends on the arguments.
func typed(name string, min, max int, format string, t func(a []argument) Type) {
	functions[name] = function{min: min, max: max, make: func(_ *Call, a []argument) (string, Type, error) {
		return fill(format, a), t(a), nil
	}}
}

func custom(name string, min, max int, make func(c *Call, a []argument) (string, Type, error)) {
	functions[name] = function{min: min, max: max, make: make}
}

func aggregate(name string, min, max int, agg func(a []argument) aggregated) {
	functions[name] = function{min: min, max: max, aggregate: true, agg: agg}
}

func first(a []argument) Type { return a[0].typ }

func sqls(a []argument) string { return fill("$*", a) }

// constant is the text of a string literal.
func constant(a argument) (string, bool) {
	l, ok := a.e.(*Literal)
	return func() string {
		if ok {
			return l.Text
		}
		return ""
	}(), ok && l.Kind == "STRING"
}

func init() {
	conditionals()
	texts()
	jsonFunctions()
	numbers()
	times()
	collections()
	aggregates()
}

func conditionals() {
	functions["coalesce"] = function{min: 1, max: -1, make: func(_ *Call, a []argument) (string, Type, error) {
		var ts []Type
		for _, x := range a {
			ts = append(ts, x.typ)
		}
		return "coalesce(" + sqls(a) + ")", firstKnown(ts...), nil
	}}
	typed("nullif", 2, 2, "nullif($1, $2)", first)
	typed("try", 1, 1, "try($1)", first)
	custom("if", 2, 3, func(_ *Call, a []argument) (string, Type, error) {
		other := "NULL"
		if len(a) == 3 {
			other = a[2].sql
		}
		return "(CASE WHEN " + a[0].sql + " THEN " + a[1].sql + " ELSE " + other + " END)", a[1].typ, nil
	})
	for _, n := range []string{"greatest", "least"} {
		functions[n] = function{min: 1, max: -1, make: func(_ *Call, a []argument) (string, Type, error) {
			var nulls []string // NULL when any argument is, unlike DuckDB
			for _, x := range a {
				nulls = append(nulls, x.sql+" IS NULL")
			}
			return "(CASE WHEN " + strings.Join(nulls, " OR ") + " THEN NULL ELSE " + n + "(" + sqls(a) + ") END)", a[0].typ, nil
		}}
	}
	custom("typeof", 1, 1, func(c *Call, a []argument) (string, Type, error) {
		if !a[0].typ.Known() {
			return notSupported(c, "typeof of an expression whose type only the engine knows")
		}
		return quoteString(a[0].typ.String()), varchar, nil
	})
	template("uuid", 0, 0, simple("uuid"), "uuid()")
}

func texts() {
	template("lower", 1, 1, varchar, "lower($1)")
	template("upper", 1, 1, varchar, "upper($1)")
	template("length", 1, 1, bigint, "length($1)")
	custom("reverse", 1, 1, func(_ *Call, a []argument) (string, Type, error) {
		if a[0].typ.Name == "array" {
			return "list_reverse(" + a[0].sql + ")", a[0].typ, nil
		}
		return "reverse(" + a[0].sql + ")", varchar, nil
	})
	template("trim trim_both", 1, 2, varchar, "trim($*)")
	template("ltrim trim_leading", 1, 2, varchar, "ltrim($*)")
	template("rtrim trim_trailing", 1, 2, varchar, "rtrim($*)")
	custom("lpad", 3, 3, pad("lpad"))
	custom("rpad", 3, 3, pad("rpad"))
	template("strpos", 2, 2, bigint, "strpos($1, $2)")
	template("position", 2, 2, bigint, "strpos($2, $1)")
	template("starts_with", 2, 2, boolean, "starts_with($1, $2)")
	template("ends_with", 2, 2, boolean, "ends_with($1, $2)")
	template("chr", 1, 1, varchar, "chr(CAST($1 AS INTEGER))")
	template("codepoint", 1, 1, simple("integer"), "ord($1)")
	template("translate", 3, 3, varchar, "translate($*)")
	template("levenshtein_distance", 2, 2, bigint, "levenshtein($1, $2)")
	template("hamming_distance", 2, 2, bigint, "hamming($1, $2)")
	template("concat_ws", 1, -1, varchar, "concat_ws($*)")
	template("md5", 1, 1, simple("varbinary"), "unhex(md5($1))")
	template("sha1", 1, 1, simple("varbinary"), "unhex(sha1($1))")
	template("sha256", 1, 1, simple("varbinary"), "unhex(sha256($1))")
	template("to_hex", 1, 1, varchar, "hex($1)")
	template("from_hex", 1, 1, simple("varbinary"), "unhex($1)")
	template("to_utf8", 1, 1, simple("varbinary"), "encode($1)")
	template("from_utf8", 1, 1, varchar, "decode($1)")
	template("to_base64", 1, 1, varchar, "to_base64($1)")
	template("from_base64", 1, 1, simple("varbinary"), "from_base64($1)")
	// Trino encodes as forms do; DuckDB as RFC 3986 does.
	template("url_encode", 1, 1, varchar, "replace(replace(replace(url_encode($1), '%20', '+'), '%2A', '*'), '~', '%7E')")
	template("url_decode", 1, 1, varchar, "url_decode(replace($1, '+', '%20'))")
	template("url_extract_parameter", 2, 2, varchar, `(CASE WHEN regexp_matches($1, '^[^#]*[?&]' || regexp_escape($2) || '(=|&|#|$)') THEN url_decode(replace(regexp_extract($1, '^[^#?]*[?](?:[^#]*?&)??' || regexp_escape($2) || '=([^&#]*)', 1), '+', '%20')) END)`)
	template("url_extract_port", 1, 1, bigint, `TRY_CAST(regexp_extract($1, '^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#@]*@)?[^/?#:]*:([0-9]+)', 1) AS BIGINT)`)
	template("url_extract_host", 1, 1, varchar, `nullif(regexp_extract($1, '^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:]*)', 1), '')`)
	template("url_extract_path", 1, 1, varchar, `regexp_extract($1, '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*([^?#]*)', 1)`)
	template("url_extract_protocol", 1, 1, varchar, `nullif(regexp_extract($1, '^([a-zA-Z][a-zA-Z0-9+.-]*):', 1), '')`)
	template("url_extract_query", 1, 1, varchar, `nullif(regexp_extract($1, '\?([^#]*)', 1), '')`)
	functions["concat"] = function{min: 2, max: -1, make: func(_ *Call, a []argument) (string, Type, error) {
		parts := make([]string, len(a)) // NULL when any argument is
		for i, x := range a {
			parts[i] = x.sql
		}
		t := varchar
		if a[0].typ.Name == "array" {
			t = a[0].typ
		}
		return "(" + strings.Join(parts, " || ") + ")", t, nil
	}}
	custom("substr", 2, 3, substr)
	functions["substring"] = functions["substr"]
	custom("replace", 2, 3, func(_ *Call, a []argument) (string, Type, error) {
		with := "''"
		if len(a) == 3 {
			with = a[2].sql
		}
		return "replace(" + a[0].sql + ", " + a[1].sql + ", " + with + ")", varchar, nil
	})
	custom("split", 2, 3, func(c *Call, a []argument) (string, Type, error) {
		if len(a) == 3 {
			return notSupported(c, "split with a limit")
		}
		return "string_split(" + sqls(a) + ")", arrayOf(varchar), nil
	})
	template("split_part", 3, 3, varchar, "(CASE WHEN $3 <= len(string_split($1, $2)) THEN string_split($1, $2)[$3] END)")
	regexps()
}

// substr: positions count from 1, or from the end when negative; 0 gives ”.
func substr(_ *Call, a []argument) (string, Type, error) {
	length := ""
	if len(a) == 3 {
		length = ", " + a[2].sql
	}
	if l, ok := a[1].e.(*Literal); ok && l.Kind == "INTEGER" && strings.Trim(l.Text, "0") != "" {
		return "substr(" + a[0].sql + ", " + a[1].sql + length + ")", varchar, nil
	}
	return "(CASE WHEN " + a[1].sql + " = 0 OR " + a[1].sql + " < -length(" + a[0].sql + ") THEN '' ELSE substr(" + a[0].sql + ", " + a[1].sql + length + ") END)", varchar, nil
}

// pattern checks a regular expression for what RE2 lacks and Java has.
func pattern(c *Call, a argument) (string, error) {
	text, ok := constant(a)
	if !ok {
		return a.sql, nil
	}
	for _, x := range []string{"(?=", "(?!", "(?<=", "(?<!", "(?>", "++", "*+", "?+"} {
		if strings.Contains(text, x) {
			return "", semantic("NOT_SUPPORTED", c.At, "look-around and possessive quantifiers are not supported in regular expressions by this engine")
		}
	}
	for i := 0; i+1 < len(text); i++ {
		if text[i] == '\\' {
			if text[i+1] >= '1' && text[i+1] <= '9' {
				return "", semantic("NOT_SUPPORTED", c.At, "back-references are not supported in regular expressions by this engine")
			}
			i++
		}
	}
	return a.sql, nil
}

func regexps() {
	re := func(name string, min, max int, build func(c *Call, a []argument, p string) (string, Type, error)) {
		custom(name, min, max, func(c *Call, a []argument) (string, Type, error) {
			p, err := pattern(c, a[1])
			if err != nil {
				return "", Type{}, err
			}
			return build(c, a, p)
		})
	}
	re("regexp_like", 2, 2, func(_ *Call, a []argument, p string) (string, Type, error) {
		return "regexp_matches(" + a[0].sql + ", " + p + ")", boolean, nil
	})
	group := func(a []argument) string {
		if len(a) == 3 {
			return a[2].sql
		}
		return "0"
	}
	re("regexp_extract", 2, 3, func(_ *Call, a []argument, p string) (string, Type, error) {
		return "(CASE WHEN regexp_matches(" + a[0].sql + ", " + p + ") THEN regexp_extract(" + a[0].sql + ", " + p + ", " + group(a) + ") END)", varchar, nil
	})
	re("regexp_extract_all", 2, 3, func(_ *Call, a []argument, p string) (string, Type, error) {
		return "regexp_extract_all(" + a[0].sql + ", " + p + ", " + group(a) + ")", arrayOf(varchar), nil
	})
	re("regexp_count", 2, 2, func(_ *Call, a []argument, p string) (string, Type, error) {
		return "len(regexp_extract_all(" + a[0].sql + ", " + p + "))", bigint, nil
	})
	re("regexp_split", 2, 2, func(_ *Call, a []argument, p string) (string, Type, error) {
		return "string_split_regex(" + a[0].sql + ", " + p + ")", arrayOf(varchar), nil
	})
	re("regexp_replace", 2, 3, func(c *Call, a []argument, p string) (string, Type, error) {
		with := "''"
		if len(a) == 3 {
			text, ok := constant(a[2])
			if !ok {
				return notSupported(c, "regexp_replace with a replacement that is no constant")
			}
			with = quoteString(backReferences(text))
		}
		return "regexp_replace(" + a[0].sql + ", " + p + ", " + with + ", 'g')", varchar, nil
	})
}

// backReferences turns Java's $1 into RE2's \1, and keeps \$ and \\ literal.
func backReferences(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '$' && i+1 < len(s) && isDigit(s[i+1]):
			b.WriteString(`\` + s[i+1:i+2])
			i++
		case s[i] == '\\' && i+1 < len(s):
			i++
			if s[i] == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func jsonFunctions() {
	path := func(c *Call, a argument) (string, error) {
		text, ok := constant(a)
		if !ok {
			return "", semantic("NOT_SUPPORTED", c.At, "a JSON path that is no constant")
		}
		p, ok := jsonPath(text)
		if !ok {
			return "", semantic("INVALID_FUNCTION_ARGUMENT", c.At, "Invalid JSON path: '%s'", text)
		}
		return quoteString(p), nil
	}
	// try(...): text that is no JSON gives NULL.
	custom("json_extract", 2, 2, func(c *Call, a []argument) (string, Type, error) {
		p, err := path(c, a[1])
		return "try(json_extract(" + a[0].sql + ", " + p + "))", jsonType, err
	})
	custom("json_extract_scalar", 2, 2, func(c *Call, a []argument) (string, Type, error) {
		p, err := path(c, a[1])
		x := a[0].sql
		return "(CASE WHEN try(json_type(" + x + ", " + p + ")) NOT IN ('OBJECT', 'ARRAY', 'NULL') THEN try(json_extract_string(" + x + ", " + p + ")) END)", varchar, err
	})
	custom("json_size", 2, 2, func(c *Call, a []argument) (string, Type, error) {
		p, err := path(c, a[1])
		x := "try(json_extract(" + a[0].sql + ", " + p + "))"
		return "CAST(CASE json_type(" + x + ") WHEN 'ARRAY' THEN json_array_length(" + x + ") WHEN 'OBJECT' THEN len(json_keys(" + x + ")) WHEN NULL THEN NULL ELSE 0 END AS BIGINT)", bigint, err
	})
	template("json_array_length", 1, 1, bigint, "CAST(try(json_array_length($1)) AS BIGINT)")
	template("json_array_get", 2, 2, jsonType, "try(json_extract($1, CAST($2 AS BIGINT)))")
	template("json_parse", 1, 1, jsonType, "CAST($1 AS JSON)")
	template("json_format", 1, 1, varchar, "CAST($1 AS VARCHAR)")
	template("is_json_scalar", 1, 1, boolean, "(json_type($1) NOT IN ('OBJECT', 'ARRAY'))")
}

// jsonPath turns a Trino path into DuckDB's: keys in brackets or after dots
// are quoted, indexes kept.
func jsonPath(s string) (string, bool) {
	rest, ok := strings.CutPrefix(s, "$")
	if !ok {
		return "", false
	}
	var b strings.Builder
	b.WriteByte('$')
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, `["`):
			end := strings.Index(rest, `"]`)
			if end < 0 {
				return "", false
			}
			b.WriteString(`."` + strings.ReplaceAll(rest[2:end], `"`, `\"`) + `"`)
			rest = rest[end+2:]
		case rest[0] == '[':
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return "", false
			}
			if _, err := strconv.Atoi(rest[1:end]); err != nil && rest[1:end] != "*" {
				return "", false
			}
			b.WriteString(rest[:end+1])
			rest = rest[end+1:]
		case rest[0] == '.':
			n := 1
			for n < len(rest) && rest[n] != '.' && rest[n] != '[' {
				n++
			}
			if n == 1 {
				return "", false
			}
			b.WriteString(`."` + strings.ReplaceAll(rest[1:n], `"`, "") + `"`)
			rest = rest[n:]
		default:
			return "", false
		}
	}
	return b.String(), true
}

func numbers() {
	for _, n := range []string{"abs", "ceil", "ceiling", "floor", "sign"} {
		typed(n, 1, 1, n+"($1)", first)
	}
	typed("round", 1, 2, "round($*)", first)
	custom("truncate", 1, 2, func(_ *Call, a []argument) (string, Type, error) {
		if len(a) == 1 {
			return "trunc(" + a[0].sql + ")", a[0].typ, nil
		}
		return fill("(trunc(CAST($1 AS DOUBLE) * pow(10, $2)) / pow(10, $2))", a), double, nil
	})
	typed("mod", 2, 2, "($1 % $2)", first)
	for _, n := range []string{"sqrt", "exp", "ln", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "degrees", "radians"} {
		template(n, 1, 1, double, n+"(CAST($1 AS DOUBLE))")
	}
	// DuckDB's root of a cube may be off by a bit.
	template("cbrt", 1, 1, double, "(CASE WHEN pow(round(cbrt($1)), 3) = $1 THEN round(cbrt($1)) ELSE cbrt(CAST($1 AS DOUBLE)) END)")
	template("power pow", 2, 2, double, "pow(CAST($1 AS DOUBLE), CAST($2 AS DOUBLE))")
	template("atan2", 2, 2, double, "atan2($1, $2)")
	template("log", 2, 2, double, "(ln(CAST($2 AS DOUBLE)) / ln(CAST($1 AS DOUBLE)))")
	template("pi", 0, 0, double, "pi()")
	template("current_timezone", 0, 0, varchar, "'UTC'") // Athena's sessions are in UTC
	template("e", 0, 0, double, "exp(CAST(1 AS DOUBLE))")
	template("rand random", 0, 0, double, "random()")
	template("is_nan", 1, 1, boolean, "isnan($1)")
	template("is_finite", 1, 1, boolean, "isfinite($1)")
	template("nan", 0, 0, double, "CAST('nan' AS DOUBLE)")
	template("infinity", 0, 0, double, "CAST('infinity' AS DOUBLE)")
	template("bitwise_and", 2, 2, bigint, "CAST($1 & $2 AS BIGINT)")
	template("bitwise_or", 2, 2, bigint, "CAST($1 | $2 AS BIGINT)")
	template("bitwise_xor", 2, 2, bigint, "CAST(xor($1, $2) AS BIGINT)")
	template("bitwise_not", 1, 1, bigint, "CAST(~$1 AS BIGINT)")
}

func collections() {
	template("cardinality", 1, 1, bigint, "CAST(len($1) AS BIGINT)")
	functions["cardinality"] = function{min: 1, max: 1, make: func(_ *Call, a []argument) (string, Type, error) {
		if a[0].typ.Name == "map" {
			return "CAST(cardinality(" + a[0].sql + ") AS BIGINT)", bigint, nil
		}
		return "CAST(len(" + a[0].sql + ") AS BIGINT)", bigint, nil
	}}
	template("contains", 2, 2, boolean, "list_contains($1, $2)")
	template("array_position", 2, 2, bigint, "CAST(coalesce(list_position($1, $2), 0) AS BIGINT)")
	typed("array_distinct", 1, 1, "list_distinct($1)", first)
	typed("array_sort", 1, 1, "list_sort($1, 'ASC', 'NULLS LAST')", first)
	typed("array_intersect", 2, 2, "list_distinct(list_intersect($1, $2))", first)
	typed("array_union", 2, 2, "list_distinct(list_concat($1, $2))", first)
	typed("array_except", 2, 2, "list_distinct(list_filter($1, lambda _x: NOT list_contains($2, _x)))", first)
	typed("array_remove", 2, 2, "list_filter($1, lambda _x: _x IS DISTINCT FROM $2)", first)
	template("arrays_overlap", 2, 2, boolean, "list_has_any($1, $2)")
	custom("array_join", 2, 3, func(_ *Call, a []argument) (string, Type, error) {
		list := a[0].sql
		if len(a) == 3 {
			list = "list_transform(" + list + ", lambda _x: coalesce(CAST(_x AS VARCHAR), " + a[2].sql + "))"
		}
		return "array_to_string(" + list + ", " + a[1].sql + ")", varchar, nil
	})
	template("split_to_map", 3, 3, Type{Name: "map", Elems: []Type{varchar, varchar}},
		"map_from_entries(list_transform(list_filter(string_split($1, $2), lambda _x: _x <> ''), lambda _x: struct_pack(k := split_part(_x, $3, 1), v := split_part(_x, $3, 2))))")
	typed("array_max", 1, 1, "list_max($1)", func(a []argument) Type { return elem(a[0].typ) })
	typed("array_min", 1, 1, "list_min($1)", func(a []argument) Type { return elem(a[0].typ) })
	typed("slice", 3, 3, "list_slice($1, $2, $2 + $3 - 1)", first)
	typed("flatten", 1, 1, "flatten($1)", func(a []argument) Type { return elem(a[0].typ) })
	custom("sequence", 2, 3, sequence)
	custom("repeat", 2, 2, repeat)
	custom("element_at", 2, 2, func(_ *Call, a []argument) (string, Type, error) {
		if a[0].typ.Name == "map" {
			return a[0].sql + "[" + a[1].sql + "]", a[0].typ.Elems[1], nil
		}
		return a[0].sql + "[" + a[1].sql + "]", elem(a[0].typ), nil
	})
	lambda := func(name string, format string, t func(a []argument) Type) {
		functions[name] = function{min: 2, max: 2, lambda: true, make: func(_ *Call, a []argument) (string, Type, error) {
			return fill(format, a), t(a), nil
		}}
	}
	lambda("transform", "list_transform($1, $2)", func(a []argument) Type { return arrayOf(a[1].typ) })
	lambda("filter", "list_filter($1, $2)", first)
	lambda("any_match", "coalesce(list_bool_or(list_transform($1, $2)), false)", func([]argument) Type { return boolean })
	lambda("all_match", "coalesce(list_bool_and(list_transform($1, $2)), true)", func([]argument) Type { return boolean })
	lambda("none_match", "NOT coalesce(list_bool_or(list_transform($1, $2)), false)", func([]argument) Type { return boolean })
	functions["reduce"] = function{min: 4, max: 4, lambda: true, make: func(_ *Call, a []argument) (string, Type, error) {
		l, ok := a[3].e.(*Lambda)
		if !ok || len(l.Params) != 1 {
			return "", Type{}, semantic("TYPE_MISMATCH", Pos{1, 1}, "reduce needs an output function of one parameter")
		}
		state := "list_reduce(list_prepend(" + a[1].sql + ", " + a[0].sql + "), " + a[2].sql + ")"
		return "list_transform([" + state + "], " + a[3].sql + ")[1]", a[3].typ, nil
	}}
	mapOf := func(a []argument) Type {
		if len(a) == 2 && elem(a[0].typ).Known() && elem(a[1].typ).Known() {
			return Type{Name: "map", Elems: []Type{elem(a[0].typ), elem(a[1].typ)}}
		}
		return Type{}
	}
	typed("map", 0, 2, "map($*)", mapOf)
	typed("map_keys", 1, 1, "map_keys($1)", func(a []argument) Type {
		if a[0].typ.Name == "map" {
			return arrayOf(a[0].typ.Elems[0])
		}
		return Type{}
	})
	typed("map_values", 1, 1, "map_values($1)", func(a []argument) Type {
		if a[0].typ.Name == "map" {
			return arrayOf(a[0].typ.Elems[1])
		}
		return Type{}
	})
	typed("map_concat", 1, -1, "map_concat($*)", first)
	template("map_entries", 1, 1, Type{}, "map_entries($1)")
	template("map_from_entries", 1, 1, Type{}, "map_from_entries($1)")
}

func aggregates() {
	aggregate("count", 0, 1, func(a []argument) aggregated {
		return aggregated{name: "count", args: sqls(a), typ: bigint}
	})
	aggregate("count_if", 1, 1, func(a []argument) aggregated {
		return aggregated{name: "count_if", args: a[0].sql, wrap: "CAST(%s AS BIGINT)", typ: bigint}
	})
	aggregate("sum", 1, 1, func(a []argument) aggregated {
		if a[0].typ.isInteger() {
			return aggregated{name: "sum", args: a[0].sql, wrap: "CAST(%s AS BIGINT)", typ: bigint}
		}
		return aggregated{name: "sum", args: a[0].sql, typ: a[0].typ}
	})
	aggregate("avg", 1, 1, func(a []argument) aggregated {
		t := a[0].typ
		if t.isInteger() || t.Name == "real" {
			t = double
		}
		return aggregated{name: "avg", args: a[0].sql, typ: t}
	})
	for _, n := range []string{"min", "max"} {
		aggregate(n, 1, 2, func(a []argument) aggregated {
			t := a[0].typ
			if len(a) == 2 {
				t = arrayOf(t)
			}
			return aggregated{name: n, args: sqls(a), typ: t}
		})
		aggregate(n+"_by", 2, 3, func(a []argument) aggregated {
			t := a[0].typ
			if len(a) == 3 {
				t = arrayOf(t)
			}
			return aggregated{name: "arg_" + n, args: sqls(a), typ: t}
		})
	}
	// Exact, where Trino's sketch errs by 2.3 %: DuckDB's own errs by far more.
	aggregate("approx_distinct", 1, 2, func(a []argument) aggregated {
		return aggregated{name: "count", args: "DISTINCT " + a[0].sql, typ: bigint}
	})
	aggregate("approx_percentile", 2, 2, func(a []argument) aggregated {
		if a[1].typ.Name == "array" {
			return aggregated{name: "approx_quantile", args: a[0].sql + ", CAST(" + a[1].sql + " AS FLOAT[])", typ: arrayOf(a[0].typ)}
		}
		return aggregated{name: "approx_quantile", args: a[0].sql + ", CAST(" + a[1].sql + " AS FLOAT)", typ: a[0].typ}
	})
	aggregate("histogram", 1, 1, func(a []argument) aggregated {
		if !a[0].typ.Known() {
			return aggregated{name: "histogram", args: a[0].sql}
		}
		t := Type{Name: "map", Elems: []Type{a[0].typ, bigint}}
		return aggregated{name: "histogram", args: a[0].sql, wrap: "CAST(%s AS " + t.DuckDB() + ")", typ: t}
	})
	aggregate("geometric_mean", 1, 1, func(a []argument) aggregated {
		return aggregated{name: "avg", args: "ln(CAST(" + a[0].sql + " AS DOUBLE))", wrap: "exp(%s)", typ: double}
	})
	for trino, duck := range map[string]string{"bitwise_and_agg": "bit_and", "bitwise_or_agg": "bit_or", "bitwise_xor_agg": "bit_xor"} {
		aggregate(trino, 1, 1, func(a []argument) aggregated {
			return aggregated{name: duck, args: "CAST(" + a[0].sql + " AS BIGINT)", typ: bigint}
		})
	}
	aggregate("arbitrary", 1, 1, func(a []argument) aggregated {
		return aggregated{name: "any_value", args: a[0].sql, typ: a[0].typ}
	})
	functions["any_value"] = functions["arbitrary"]
	aggregate("bool_and", 1, 1, func(a []argument) aggregated {
		return aggregated{name: "bool_and", args: a[0].sql, typ: boolean}
	})
	functions["every"] = functions["bool_and"]
	aggregate("bool_or", 1, 1, func(a []argument) aggregated {
		return aggregated{name: "bool_or", args: a[0].sql, typ: boolean}
	})
	aggregate("array_agg", 1, 1, func(a []argument) aggregated {
		return aggregated{name: "array_agg", args: a[0].sql, typ: arrayOf(a[0].typ)}
	})
	aggregate("listagg", 1, 2, func(a []argument) aggregated {
		args := sqls(a)
		if len(a) == 1 {
			args += ", ''"
		}
		return aggregated{name: "string_agg", args: args, typ: varchar}
	})
	for _, n := range []string{"stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop"} {
		aggregate(n, 1, 1, func(a []argument) aggregated { return aggregated{name: n, args: a[0].sql, typ: double} })
	}
	for _, n := range []string{"corr", "covar_pop", "covar_samp", "regr_slope", "regr_intercept"} {
		aggregate(n, 2, 2, func(a []argument) aggregated { return aggregated{name: n, args: sqls(a), typ: double} })
	}
	aggregate("map_agg", 2, 2, func(a []argument) aggregated {
		return aggregated{name: "array_agg", args: "{'k': " + a[0].sql + ", 'v': " + a[1].sql + "}", wrap: "map_from_entries(%s)",
			typ: Type{Name: "map", Elems: []Type{a[0].typ, a[1].typ}}}
	})
	custom("grouping", 1, -1, func(_ *Call, a []argument) (string, Type, error) {
		return "CAST(grouping(" + sqls(a) + ") AS INTEGER)", simple("integer"), nil
	})
	ranking := func(name string, min, max int, t func(a []argument) Type) {
		functions[name] = function{min: min, max: max, window: true, agg: func(a []argument) aggregated {
			return aggregated{name: name, args: sqls(a), typ: t(a)}
		}}
	}
	big := func([]argument) Type { return bigint }
	for _, n := range []string{"row_number", "rank", "dense_rank"} {
		ranking(n, 0, 0, big)
	}
	ranking("ntile", 1, 1, big)
	for _, n := range []string{"percent_rank", "cume_dist"} {
		ranking(n, 0, 0, func([]argument) Type { return double })
	}
	ranking("lag", 1, 3, first)
	ranking("lead", 1, 3, first)
	ranking("first_value", 1, 1, first)
	ranking("last_value", 1, 1, first)
	ranking("nth_value", 2, 2, first)
}
