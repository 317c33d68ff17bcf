package athena

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"spoor/internal/athena/sql"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
)

// Limits of what a reader holds in memory.
const (
	maxDocument = 256 << 20 // uncompressed bytes of one CloudTrail file
	maxLine     = 32 << 20  // bytes of a line; Athena's rows end at 32 MB
)

// format is how a table's files are read.
type format uint8

const (
	formatText format = iota
	formatOpenCSV
	formatJSON
	formatCloudTrail
	formatParquet
)

const (
	cloudTrailInput = "com.amazon.emr.cloudtrail.CloudTrailInputFormat"
	serdeLazy       = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
	serdeOpenCSV    = "org.apache.hadoop.hive.serde2.OpenCSVSerde"
	serdeHiveJSON   = "org.apache.hive.hcatalog.data.JsonSerDe"
	serdeOpenX      = "org.openx.data.jsonserde.JsonSerDe"
	serdeCloudTrail = "com.amazon.emr.hive.serde.CloudTrailSerde"
	serdeParquet    = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
	inputText       = "org.apache.hadoop.mapred.TextInputFormat"
	inputParquet    = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
	outputText      = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
	outputParquet   = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
)

// formatOf is the format of a table, an error for one that is not read.
func formatOf(t *glue.Table) (format, error) {
	switch {
	case t.InputFormat == cloudTrailInput:
		return formatCloudTrail, nil
	case t.Serde == serdeParquet, t.InputFormat == inputParquet:
		return formatParquet, nil
	case t.Serde == serdeHiveJSON, t.Serde == serdeOpenX, t.Serde == "org.apache.hadoop.hive.serde2.JsonSerDe":
		return formatJSON, nil
	case t.Serde == serdeOpenCSV:
		return formatOpenCSV, nil
	case t.Serde == serdeLazy, t.Serde == "":
		return formatText, nil
	}
	return 0, fmt.Errorf("HIVE_UNSUPPORTED_FORMAT: SerDe %s is not supported by this engine (table %s.%s)", t.Serde, t.Database, t.Name)
}

// reader reads the rows of one table's files.
type reader struct {
	format  format
	table   *glue.Table
	columns []sql.Column // the columns wanted, of the files
	index   []int        // of each wanted column among the table's
}

// open unpacks a file by its name's ending.
func open(name string, r io.Reader) (io.Reader, error) {
	switch {
	case strings.HasSuffix(name, ".gz"):
		return gzip.NewReader(r)
	case strings.HasSuffix(name, ".zst"):
		return zstd.NewReader(r)
	case strings.HasSuffix(name, ".bz2"):
		return bzip2.NewReader(r), nil
	}
	return r, nil
}

// read calls emit with the wanted columns of each row of a file.
func (rd *reader) read(name string, r io.Reader, emit func([]any) error) error {
	plain, err := open(name, r)
	if err != nil {
		if rd.format == formatCloudTrail {
			return nil // AWS's input format skips what it cannot read
		}
		return fmt.Errorf("HIVE_CANNOT_OPEN_SPLIT: %s cannot be unpacked", name)
	}
	switch rd.format {
	case formatCloudTrail:
		return rd.cloudTrail(plain, emit)
	case formatJSON:
		return rd.jsonLines(plain, emit)
	case formatOpenCSV:
		return rd.openCSV(plain, emit)
	}
	return rd.text(name, plain, emit)
}

// stringified are the members that CloudTrailInputFormat gives as JSON text.
var stringified = map[string]bool{"requestparameters": true, "responseelements": true, "additionaleventdata": true, "serviceeventdetails": true}

// cloudTrail reads {"Records":[…]}: each element is a row, whose members are
// found whatever their case. A file that is no such document is skipped.
func (rd *reader) cloudTrail(r io.Reader, emit func([]any) error) error {
	raw, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil || len(raw) > maxDocument {
		return nil
	}
	var doc struct{ Records []map[string]json.RawMessage }
	if json.Unmarshal(raw, &doc) != nil {
		return nil
	}
	row := make([]any, len(rd.columns))
	folded := map[string]json.RawMessage{}
	for _, rec := range doc.Records {
		clear(folded)
		for k, v := range rec {
			folded[strings.ToLower(k)] = v
		}
		for i, c := range rd.columns {
			row[i] = nil
			name := c.Name
			text := stringified[name]
			if name == "useridentity_as_string" {
				name, text = "useridentity", true
			}
			v, ok := folded[name]
			switch {
			case !ok || string(v) == "null":
			case text:
				row[i] = compact(v)
			default:
				if row[i], err = fromJSON(v, c.Type); err != nil {
					return fmt.Errorf("HIVE_BAD_DATA: column %s: %w", c.Name, err)
				}
			}
		}
		if err := emit(row); err != nil {
			return err
		}
	}
	return nil
}

func compact(v json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return string(v)
	}
	return b.String()
}

// jsonLines reads one document a line.
func (rd *reader) jsonLines(r io.Reader, emit func([]any) error) error {
	ignore := strings.EqualFold(rd.table.SerdeParams["ignore.malformed.json"], "true")
	names := rd.jsonNames()
	row := make([]any, len(rd.columns))
	return lines(r, func(line []byte) error {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return nil
		}
		var rec map[string]json.RawMessage
		if err := json.Unmarshal(line, &rec); err != nil {
			if ignore {
				clear(row)
				return emit(row)
			}
			return errors.New("HIVE_CURSOR_ERROR: Row is not a valid JSON Object")
		}
		folded := map[string]json.RawMessage{}
		for k, v := range rec {
			folded[strings.ToLower(k)] = v
		}
		for i, c := range rd.columns {
			row[i] = nil
			v, ok := folded[names[i]]
			if !ok || string(v) == "null" {
				continue
			}
			var err error
			if row[i], err = fromJSON(v, c.Type); err != nil {
				return fmt.Errorf("HIVE_BAD_DATA: Error parsing field value for field %d: %w", i, err)
			}
		}
		return emit(row)
	})
}

// jsonNames are the members to look for: OpenX's mapping.<column> renames.
func (rd *reader) jsonNames() []string {
	out := make([]string, len(rd.columns))
	for i, c := range rd.columns {
		out[i] = c.Name
		if m := rd.table.SerdeParams["mapping."+c.Name]; m != "" {
			out[i] = strings.ToLower(m)
		}
	}
	return out
}

func lines(r io.Reader, fn func([]byte) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxLine)
	for sc.Scan() {
		if err := fn(sc.Bytes()); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("HIVE_CURSOR_ERROR: %w", err)
	}
	return nil
}

// fromJSON turns a JSON value into the Go value of a column's type.
func fromJSON(v json.RawMessage, t sql.Type) (any, error) {
	v = bytes.TrimSpace(v)
	if string(v) == "null" || len(v) == 0 {
		return nil, nil
	}
	switch t.Name {
	case "array":
		var list []json.RawMessage
		if json.Unmarshal(v, &list) != nil {
			list = []json.RawMessage{v} // a scalar is an array of itself
		}
		out := make([]any, len(list))
		for i, e := range list {
			x, err := fromJSON(e, t.Elems[0])
			if err != nil {
				return nil, err
			}
			out[i] = x
		}
		return out, nil
	case "map":
		var m map[string]json.RawMessage
		if json.Unmarshal(v, &m) != nil {
			return nil, fmt.Errorf("expected an object, got %.40s", v)
		}
		out := duckdb.Map{}
		for k, e := range m {
			x, err := fromJSON(e, t.Elems[1])
			if err != nil {
				return nil, err
			}
			key, err := fromText(k, t.Elems[0])
			if err != nil {
				return nil, err
			}
			out[key] = x
		}
		return out, nil
	case "row":
		var m map[string]json.RawMessage
		if json.Unmarshal(v, &m) != nil {
			return nil, fmt.Errorf("expected an object, got %.40s", v)
		}
		folded := make(map[string]json.RawMessage, len(m))
		for k, e := range m {
			folded[strings.ToLower(k)] = e
		}
		out := make(map[string]any, len(t.Fields))
		for i, f := range t.Fields {
			x, err := fromJSON(folded[strings.ToLower(f)], t.Elems[i])
			if err != nil {
				return nil, err
			}
			out[f] = x
		}
		return out, nil
	}
	text := ""
	if v[0] == '"' {
		if err := json.Unmarshal(v, &text); err != nil {
			return nil, fmt.Errorf("not a JSON string: %.40s", v)
		}
	} else {
		text = compact(v) // numbers, booleans, and objects as their text
	}
	return fromText(text, t)
}

// fromText turns a text into the Go value of a scalar type.
func fromText(s string, t sql.Type) (any, error) {
	bad := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%q is no %s", s, t)
	}
	switch t.Name {
	case "varchar", "char", "":
		return s, nil
	case "boolean":
		b, err := strconv.ParseBool(strings.ToLower(s))
		return b, bad(err)
	case "tinyint":
		n, err := strconv.ParseInt(s, 10, 8)
		return int8(n), bad(err)
	case "smallint":
		n, err := strconv.ParseInt(s, 10, 16)
		return int16(n), bad(err)
	case "integer":
		n, err := strconv.ParseInt(s, 10, 32)
		return int32(n), bad(err)
	case "bigint":
		n, err := strconv.ParseInt(s, 10, 64)
		return n, bad(err)
	case "real":
		f, err := strconv.ParseFloat(s, 32)
		return float32(f), bad(err)
	case "double":
		f, err := strconv.ParseFloat(s, 64)
		return f, bad(err)
	case "decimal":
		return decimalOf(s, t)
	case "date":
		d, err := time.Parse("2006-01-02", s)
		return d, bad(err)
	case "timestamp":
		for _, layout := range []string{"2006-01-02 15:04:05.999999999", time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02"} {
			if ts, err := time.Parse(layout, s); err == nil {
				return ts.UTC(), nil
			}
		}
		return nil, bad(errors.New("no layout"))
	case "varbinary":
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return []byte(s), nil
		}
		return b, nil
	}
	return nil, fmt.Errorf("columns of type %s are not read", t)
}

func decimalOf(s string, t sql.Type) (any, error) {
	r, ok := new(big.Rat).SetString(s)
	if !ok || len(s) > 64 || len(t.Params) != 2 {
		return nil, fmt.Errorf("%q is no %s", s, t)
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Params[1])), nil)))
	// Hive rounds half up to the column's scale.
	half := big.NewRat(1, 2)
	if r.Sign() < 0 {
		half.Neg(half)
	}
	r.Add(r, half)
	n := new(big.Int).Quo(r.Num(), r.Denom())
	return duckdb.Decimal{Width: uint8(t.Params[0]), Scale: uint8(t.Params[1]), Value: n}, nil
}

// skipHeader is the number of lines at a file's start that are no rows.
func (rd *reader) skipHeader() int {
	n, err := strconv.Atoi(rd.table.Parameters["skip.header.line.count"])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// text reads LazySimpleSerDe's delimited lines.
func (rd *reader) text(_ string, r io.Reader, emit func([]any) error) error {
	get := func(name, def string) string {
		if v, ok := rd.table.SerdeParams[name]; ok && v != "" {
			return v
		}
		return def
	}
	delim, escape, null := get("field.delim", get("serialization.format", "\x01")), get("escape.delim", ""), get("serialization.null.format", `\N`)
	nested := nesting{get("collection.delim", "\x02"), get("mapkey.delim", "\x03")}
	skip := rd.skipHeader()
	row := make([]any, len(rd.columns))
	return lines(r, func(line []byte) error {
		if skip > 0 {
			skip--
			return nil
		}
		fields := splitEscaped(strings.TrimSuffix(string(line), "\r"), delim, escape)
		for i, c := range rd.columns {
			row[i] = nil
			at := rd.index[i]
			if at >= len(fields) || fields[at] == null {
				continue
			}
			// A value that does not parse is NULL, as Hive has it.
			if v, err := nested.value(unescapeText(fields[at], escape), c.Type, 0); err == nil {
				row[i] = v
			}
		}
		return emit(row)
	})
}

// nesting holds the delimiters of arrays and maps.
type nesting struct{ item, key string }

func (n nesting) value(s string, t sql.Type, depth int) (any, error) {
	switch t.Name {
	case "array":
		if depth > 0 {
			return nil, errors.New("nested too deeply")
		}
		parts := strings.Split(s, n.item)
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
		for _, p := range strings.Split(s, n.item) {
			k, v, _ := strings.Cut(p, n.key)
			key, err := fromText(k, t.Elems[0])
			if err != nil {
				return nil, err
			}
			if out[key], err = fromText(v, t.Elems[1]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case "row":
		parts := strings.Split(s, n.item)
		out := map[string]any{}
		for i, f := range t.Fields {
			out[f] = nil
			if i < len(parts) {
				v, err := fromText(parts[i], t.Elems[i])
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

func splitEscaped(s, delim, escape string) []string {
	if escape == "" {
		return strings.Split(s, delim)
	}
	var out []string
	start := 0
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], escape):
			i += len(escape) + 1
		case strings.HasPrefix(s[i:], delim):
			out = append(out, s[start:i])
			i += len(delim)
			start = i
		default:
			i++
		}
	}
	return append(out, s[min(start, len(s)):])
}

func unescapeText(s, escape string) string {
	if escape == "" || !strings.Contains(s, escape) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], escape) && i+len(escape) < len(s) {
			i += len(escape)
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// openCSV reads OpenCSVSerde's lines: quoted values, a separator, an escape.
// Values are texts; numbers are read where the column says so, dates as days.
func (rd *reader) openCSV(r io.Reader, emit func([]any) error) error {
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
		fields := splitCSV(strings.TrimSuffix(string(line), "\r"), sep, quote, escape)
		for i, c := range rd.columns {
			row[i] = nil
			at := rd.index[i]
			if at >= len(fields) {
				continue
			}
			v, err := fromOpenCSV(fields[at], c.Type)
			if err != nil {
				return fmt.Errorf("HIVE_BAD_DATA: Error parsing field value '%s' for field %d: %w", fields[at], at, err)
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
