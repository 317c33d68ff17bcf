package sql

import "strings"

// units are Trino's units of date_diff and its kin.
var units = map[string]bool{"millisecond": true, "second": true, "minute": true, "hour": true, "day": true, "week": true, "month": true, "quarter": true, "year": true}

func times() {
	template("now current_timestamp", 0, 0, instant, "date_trunc('milliseconds', now())")
	template("localtimestamp", 0, 0, timestamp, "CAST(date_trunc('milliseconds', now()) AS TIMESTAMP)")
	template("current_date", 0, 0, date, "CAST(now() AS DATE)")
	template("from_iso8601_timestamp", 1, 1, instant, "CAST($1 AS TIMESTAMPTZ)")
	template("from_iso8601_date", 1, 1, date, "CAST($1 AS DATE)")
	template("to_iso8601", 1, 1, varchar, "strftime($1, '%Y-%m-%dT%H:%M:%S.%gZ')")
	functions["to_iso8601"] = function{min: 1, max: 1, make: func(_ *Call, a []argument) (string, Type, error) {
		switch a[0].typ.Name {
		case "date":
			return "strftime(" + a[0].sql + ", '%Y-%m-%d')", varchar, nil
		case "timestamp":
			return "strftime(" + a[0].sql + ", '%Y-%m-%dT%H:%M:%S.%g')", varchar, nil
		}
		return "strftime(CAST(" + a[0].sql + " AS TIMESTAMP), '%Y-%m-%dT%H:%M:%S.%gZ')", varchar, nil
	}}
	template("from_unixtime", 1, 1, instant, "to_timestamp(CAST($1 AS DOUBLE))")
	template("to_unixtime", 1, 1, double, "epoch($1)")
	template("to_milliseconds", 1, 1, bigint, "epoch_ms($1)")
	template("date", 1, 1, date, "CAST($1 AS DATE)")
	template("last_day_of_month", 1, 1, date, "last_day($1)")
	for name, part := range map[string]string{"year": "year", "quarter": "quarter", "month": "month", "week": "week", "week_of_year": "week", "day": "day",
		"day_of_month": "day", "day_of_week": "isodow", "dow": "isodow", "day_of_year": "dayofyear", "doy": "dayofyear", "year_of_week": "isoyear", "yow": "isoyear",
		"hour": "hour", "minute": "minute", "second": "second"} {
		template(name, 1, 1, bigint, "CAST(date_part('"+part+"', $1) AS BIGINT)")
	}
	template("millisecond", 1, 1, bigint, "CAST(date_part('millisecond', $1) % 1000 AS BIGINT)")
	custom("date_trunc", 2, 2, func(c *Call, a []argument) (string, Type, error) {
		unit, err := unitOf(c, a[0])
		if err != nil {
			return "", Type{}, err
		}
		if a[1].typ.isText() || a[1].typ.isNumber() {
			return "", Type{}, semantic("FUNCTION_NOT_FOUND", c.At, "Unexpected parameters (%s, %s) for function date_trunc", a[0].typ, a[1].typ)
		}
		return keep("date_trunc("+unit+", "+a[1].sql+")", a[1].typ), a[1].typ, nil
	})
	custom("date_add", 3, 3, func(c *Call, a []argument) (string, Type, error) {
		unit, err := unitOf(c, a[0])
		if err != nil {
			return "", Type{}, err
		}
		one := "CAST('1 " + strings.Trim(unit, "'") + "' AS INTERVAL)"
		if unit == "'quarter'" {
			one = "CAST('3 month' AS INTERVAL)"
		}
		return keep("("+a[2].sql+" + CAST("+a[1].sql+" AS INTEGER) * "+one+")", a[2].typ), a[2].typ, nil
	})
	// Complete units, where DuckDB's date_diff counts boundaries.
	custom("date_diff", 3, 3, func(c *Call, a []argument) (string, Type, error) {
		unit, err := unitOf(c, a[0])
		if err != nil {
			return "", Type{}, err
		}
		return "date_sub(" + unit + ", " + a[1].sql + ", " + a[2].sql + ")", bigint, nil
	})
	format := func(name string, table map[byte]string, build func(text string, a []argument) (string, Type)) {
		custom(name, 2, 2, func(c *Call, a []argument) (string, Type, error) {
			text, ok := constant(a[1])
			if !ok {
				return notSupported(c, "%s with a format that is no constant", name)
			}
			var out string
			if table != nil {
				out, ok = mysqlFormat(text, table)
			} else {
				out, ok = jodaFormat(text)
			}
			if !ok {
				return notSupported(c, "the format '%s'", text)
			}
			sql, t := build(quoteString(out), a)
			return sql, t, nil
		})
	}
	render := func(f string, a []argument) (string, Type) {
		return "strftime(" + naive(a[0]) + ", " + f + ")", varchar
	}
	format("date_format", mysqlCodes, render)
	format("format_datetime", nil, render)
	format("date_parse", mysqlCodes, func(f string, a []argument) (string, Type) {
		return "CAST(strptime(" + a[0].sql + ", " + f + ") AS TIMESTAMP)", timestamp
	})
	format("parse_datetime", nil, func(f string, a []argument) (string, Type) {
		return "CAST(strptime(" + a[0].sql + ", " + f + ") AS TIMESTAMPTZ)", instant
	})
	template("at_timezone", 2, 2, instant, "$1")
	custom("at_timezone", 2, 2, func(c *Call, a []argument) (string, Type, error) {
		if z, ok := constant(a[1]); ok && strings.EqualFold(z, "UTC") {
			return a[0].sql, instant, nil
		}
		return notSupported(c, "values of other zones than UTC")
	})
}

// keep casts back to the type that Trino keeps and DuckDB widens.
func keep(sql string, t Type) string {
	if t.Name == "date" || t.Name == "timestamp" {
		return "CAST(" + sql + " AS " + t.DuckDB() + ")"
	}
	return sql
}

// naive shows an instant in UTC.
func naive(a argument) string {
	if a.typ.Name == "timestamp with time zone" {
		return "CAST(" + a.sql + " AS TIMESTAMP)"
	}
	return a.sql
}

func unitOf(c *Call, a argument) (string, error) {
	text, ok := constant(a)
	if !ok || !units[strings.ToLower(text)] {
		return "", semantic("INVALID_FUNCTION_ARGUMENT", c.At, "'%s' is not a valid Timestamp field", text)
	}
	return quoteString(strings.ToLower(text)), nil
}

// mysqlCodes are the codes of date_format in strftime's.
var mysqlCodes = map[byte]string{'a': "%a", 'b': "%b", 'c': "%-m", 'd': "%d", 'e': "%-d", 'f': "%f", 'H': "%H", 'h': "%I", 'I': "%I", 'i': "%M",
	'j': "%j", 'k': "%-H", 'l': "%-I", 'M': "%B", 'm': "%m", 'p': "%p", 'r': "%I:%M:%S %p", 'S': "%S", 's': "%S", 'T': "%H:%M:%S", 'v': "%V", 'W': "%A", 'Y': "%Y", 'y': "%y", '%': "%%"}

func mysqlFormat(s string, codes map[byte]string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		f, ok := codes[s[i]]
		if !ok {
			return "", false
		}
		b.WriteString(f)
	}
	return b.String(), true
}

// jodaCodes are Joda's letters by how often they stand.
var jodaCodes = map[string]string{"yyyy": "%Y", "y": "%Y", "YYYY": "%Y", "yy": "%y", "MM": "%m", "M": "%-m", "MMM": "%b", "MMMM": "%B", "dd": "%d", "d": "%-d",
	"HH": "%H", "H": "%-H", "hh": "%I", "h": "%-I", "mm": "%M", "m": "%-M", "ss": "%S", "s": "%-S", "SSS": "%g", "a": "%p", "EEE": "%a", "EEEE": "%A", "DDD": "%j", "Z": "%z", "ZZ": "%z"}

func jodaFormat(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return "", false
			}
			if end == 0 {
				b.WriteByte('\'')
			}
			b.WriteString(strings.ReplaceAll(s[i+1:i+1+end], "%", "%%"))
			i += end + 2
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			n := 1
			for i+n < len(s) && s[i+n] == c {
				n++
			}
			f, ok := jodaCodes[s[i:i+n]]
			if !ok {
				return "", false
			}
			b.WriteString(f)
			i += n
		case c == '%':
			b.WriteString("%%")
			i++
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), true
}
