package serde

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"spoor/internal/athena/sql"
	"spoor/internal/engine/duckdb"
)

// delimiter reads a delimiter as Hive does: a number is the code of a byte,
// anything else counts by its first byte.
func delimiter(v string, def byte) byte {
	if v == "" {
		return def
	}
	if n, err := strconv.ParseInt(v, 10, 8); err == nil {
		return byte(n)
	}
	return v[0]
}

// text reads LazySimpleSerDe's delimited lines. A field that does not parse as
// its column's type is NULL, as Hive has it.
func (rd *Reader) text(r io.Reader, emit func([]any) error) error {
	get := func(names ...string) string {
		for _, n := range names {
			if v := rd.table.SerdeParams[n]; v != "" {
				return v
			}
		}
		return ""
	}
	delim := delimiter(get("field.delim", "serialization.format"), 1)
	// The misspelt name is Hive's own until Hive 3.
	nested := nesting{delimiter(get("collection.delim", "colelction.delim"), 2), delimiter(get("mapkey.delim"), 3)}
	escape, escaped := byte(0), get("escape.delim") != ""
	if escaped {
		escape = delimiter(get("escape.delim"), '\\')
	}
	null, ok := rd.table.SerdeParams["serialization.null.format"]
	if !ok {
		null = `\N`
	}
	skip := rd.skipHeader()
	row := make([]any, len(rd.columns))
	var fields []string
	return lines(r, func(line []byte) error {
		if skip > 0 {
			skip--
			return nil
		}
		fields = splitEscaped(fields[:0], strings.ToValidUTF8(string(line), "\uFFFD"), delim, escape, escaped)
		for i, c := range rd.columns {
			row[i] = nil
			at := rd.index[i]
			if at >= len(fields) || fields[at] == null {
				continue
			}
			if v, err := nested.value(unescapeText(fields[at], escape, escaped), c.Type, 0); err == nil {
				row[i] = v
			}
		}
		return emit(row)
	})
}

// nesting holds the delimiters of arrays, maps and structs. Deeper nesting,
// which Hive marks with further control characters, is NULL.
type nesting struct{ item, key byte }

func (n nesting) value(s string, t sql.Type, depth int) (any, error) {
	if depth > 0 && len(t.Elems) > 0 {
		return nil, errors.New("nested too deeply")
	}
	switch t.Name {
	case "array":
		if s == "" {
			return []any{}, nil
		}
		parts := strings.Split(s, string([]byte{n.item}))
		out := make([]any, len(parts))
		for i, p := range parts {
			v, err := n.value(p, t.Elems[0], depth+1)
			if err != nil {
				return nil, err
			}
			out[i] = v
		}
		return out, nil
	case "map":
		out := duckdb.Map{}
		if s == "" {
			return out, nil
		}
		for _, p := range strings.Split(s, string([]byte{n.item})) {
			k, v, _ := strings.Cut(p, string([]byte{n.key}))
			key, err := mapKey(k, t.Elems[0])
			if err != nil {
				return nil, err
			}
			if out[key], err = n.value(v, t.Elems[1], depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case "row":
		parts := strings.Split(s, string([]byte{n.item}))
		out := map[string]any{}
		for i, f := range t.Fields {
			out[f] = nil
			if i < len(parts) {
				v, err := n.value(parts[i], t.Elems[i], depth+1)
				if err != nil {
					return nil, err
				}
				out[f] = v
			}
		}
		return out, nil
	}
	if s == "" && t.Name != "varchar" && t.Name != "char" {
		return nil, nil
	}
	return fromText(s, t)
}

// splitEscaped splits a line into dst; a delimiter after the escape is none.
func splitEscaped(dst []string, s string, delim, escape byte, escaped bool) []string {
	start := 0
	for i := 0; i < len(s); i++ {
		switch {
		case escaped && s[i] == escape:
			i++
		case s[i] == delim:
			dst = append(dst, s[start:i])
			start = i + 1
		}
	}
	return append(dst, s[start:])
}

func unescapeText(s string, escape byte, escaped bool) string {
	if !escaped || strings.IndexByte(s, escape) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == escape && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// openCSV reads OpenCSVSerde's lines: quoted values, a separator, an escape.
// Values are texts; numbers are read where the column says so, dates as days.
func (rd *Reader) openCSV(r io.Reader, emit func([]any) error) error {
	get := func(name string, def byte) byte {
		if v := rd.table.SerdeParams[name]; v != "" {
			return v[0]
		}
		return def
	}
	sep, quote, escape := get("separatorChar", ','), get("quoteChar", '"'), get("escapeChar", '\\')
	skip := rd.skipHeader()
	row := make([]any, len(rd.columns))
	return lines(r, func(line []byte) error {
		if skip > 0 {
			skip--
			return nil
		}
		fields := splitCSV(strings.ToValidUTF8(string(line), "\uFFFD"), sep, quote, escape)
		for i, c := range rd.columns {
			row[i] = nil
			at := rd.index[i]
			if at >= len(fields) {
				continue
			}
			v, err := fromOpenCSV(fields[at], c.Type)
			if err != nil {
				return fmt.Errorf("HIVE_BAD_DATA: Error parsing field value '%s' for field %d: For input string: %q", fields[at], at, fields[at])
			}
			row[i] = v
		}
		return emit(row)
	})
}

func fromOpenCSV(s string, t sql.Type) (any, error) {
	switch {
	case t.Name == "varchar" || t.Name == "char":
		return s, nil
	case s == "":
		return nil, errors.New("empty string")
	case t.Name == "date":
		days, err := strconv.ParseInt(s, 10, 32)
		return time.Unix(days*86400, 0).UTC(), err
	case t.Name == "timestamp":
		ms, err := strconv.ParseInt(s, 10, 64)
		return time.UnixMilli(ms).UTC(), err
	}
	return fromText(s, t)
}

func splitCSV(s string, sep, quote, escape byte) []string {
	var out []string
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == escape && i+1 < len(s) && (s[i+1] == quote || s[i+1] == escape):
			i++
			b.WriteByte(s[i])
		case c == quote && quoted && i+1 < len(s) && s[i+1] == quote:
			i++
			b.WriteByte(quote)
		case c == quote:
			quoted = !quoted
		case c == sep && !quoted:
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return append(out, b.String())
}
