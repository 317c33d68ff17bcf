package types

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// epochDay is 1970-01-01 as a date's number of days.
const epochDay = 1 << 31

// timestampLayouts are the ISO forms that a timestamp constant may have (CQL,
// "Working with timestamps"). Fractions are taken by the seconds.
var timestampLayouts = []string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z0700",
	"2006-01-02 15:04:05-07", "2006-01-02T15:04:05-07", "2006-01-02 15:04Z0700", "2006-01-02T15:04Z0700", "2006-01-02 15:04Z07:00", "2006-01-02T15:04Z07:00",
	"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02", "2006-01-02Z0700", "2006-01-02Z07:00",
	"2006-01-02 15:04:05 MST", "2006-01-02 15:04:05.000 -0700", "2006-01-02 15:04:05 -0700",
}

// ParseTimestamp reads a timestamp's text, in milliseconds since the epoch.
// Texts without a zone are UTC.
func ParseTimestamp(s string) (int64, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms, nil
	}
	for _, l := range timestampLayouts {
		if t, err := time.Parse(l, s); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("Unable to parse a date/time from '%s'", s)
}

// parseDate reads a date's text: yyyy-mm-dd or its number of days.
func parseDate(s string) (uint32, error) {
	if days, err := strconv.ParseInt(s, 10, 64); err == nil && days >= 0 && days <= math.MaxUint32 {
		return uint32(days), nil
	}
	t, err := time.Parse("2006-01-02", s)
	if err != nil {
		return 0, fmt.Errorf("Unable to coerce '%s' to a formatted date (long)", s)
	}
	return uint32(t.Unix()/86400 + epochDay), nil
}

// parseTime reads hh:mm:ss[.fffffffff], in nanoseconds since midnight.
func parseTime(s string) (int64, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n <= maxTimeOfDay {
		return n, nil
	}
	t, err := time.Parse("15:04:05", s)
	if err != nil {
		return 0, fmt.Errorf("(TimeType) Unable to coerce '%s' to a formatted time (long)", s)
	}
	return int64(t.Sub(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC))), nil
}

// ParseUUID reads 8-4-4-4-12 hexadecimal digits.
func ParseUUID(s string) ([]byte, error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return nil, fmt.Errorf("Unable to make UUID from '%s'", s)
	}
	b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		return nil, fmt.Errorf("Unable to make UUID from '%s'", s)
	}
	return b, nil
}

// maxDecimalText bounds the digits of a number constant, and the exponent of a
// decimal, so that a short text cannot make a huge number.
const maxDecimalText = 10_000

func parseDecimal(s string) ([]byte, error) {
	bad := fmt.Errorf("unable to make BigDecimal from '%s'", s)
	if len(s) > maxDecimalText {
		return nil, errors.New("the number is too long")
	}
	m, e, hasExp := strings.Cut(strings.ToLower(s), "e")
	var exp int64
	if hasExp {
		var err error
		if exp, err = strconv.ParseInt(e, 10, 32); err != nil {
			return nil, bad
		}
	}
	whole, frac, _ := strings.Cut(m, ".")
	if strings.ContainsAny(frac, "+-") {
		return nil, bad
	}
	u, ok := new(big.Int).SetString(whole+frac, 10)
	scale := int64(len(frac)) - exp
	if !ok || strings.Contains(m, "_") || scale > maxDecimalText || scale < -maxDecimalText {
		return nil, bad
	}
	return AppendDecimal(nil, u, int32(scale)), nil
}

// FromText makes a wire value from the text of a constant. It does not look at
// the constant's form; see Coerce.
func (t *Type) FromText(s string) ([]byte, error) {
	switch t.Kind {
	case Text:
		return []byte(s), nil
	case Ascii:
		return []byte(s), t.Validate([]byte(s))
	case Bigint, Counter, Int, Smallint, Tinyint:
		bits := fixedSizes[t.Kind] * 8
		v, err := strconv.ParseInt(s, 10, bits)
		if err != nil {
			return nil, fmt.Errorf("Unable to make %s from '%s'", map[int]string{8: "byte", 16: "short", 32: "int", 64: "long"}[bits], s)
		}
		return AppendInt(nil, v, bits/8), nil
	case Varint:
		v, ok := new(big.Int).SetString(s, 10)
		if !ok || len(s) > maxDecimalText {
			return nil, fmt.Errorf("unable to make int from '%s'", s)
		}
		return AppendBigInt(nil, v), nil
	case Decimal:
		return parseDecimal(s)
	case Float:
		v, err := strconv.ParseFloat(s, 32)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return nil, fmt.Errorf("Unable to make float from '%s'", s)
		}
		return binary.BigEndian.AppendUint32(nil, float32Bits(float32(v))), nil
	case Double:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return nil, fmt.Errorf("Unable to make double from '%s'", s)
		}
		return binary.BigEndian.AppendUint64(nil, float64Bits(v)), nil
	}
	return t.fromTextForm(s)
}

func (t *Type) fromTextForm(s string) ([]byte, error) {
	switch t.Kind {
	case Boolean:
		switch strings.ToLower(s) {
		case "true":
			return []byte{1}, nil
		case "false":
			return []byte{0}, nil
		}
		return nil, fmt.Errorf("Unable to make boolean from '%s'", s)
	case Blob:
		b, err := hex.DecodeString(strings.TrimPrefix(strings.TrimPrefix(s, "0x"), "0X"))
		if err != nil {
			return nil, fmt.Errorf("cannot parse '%s' as hex bytes", s)
		}
		return b, nil
	case Date:
		v, err := parseDate(s)
		return binary.BigEndian.AppendUint32(nil, v), err
	case Time:
		v, err := parseTime(s)
		return AppendInt(nil, v, 8), err
	case Timestamp:
		v, err := ParseTimestamp(s)
		return AppendInt(nil, v, 8), err
	case Uuid, Timeuuid:
		b, err := ParseUUID(s)
		if err == nil {
			err = t.Validate(b)
		}
		return b, err
	case Inet:
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return nil, fmt.Errorf("Unable to make inet address from '%s'", s)
		}
		return a.Unmap().AsSlice(), nil
	case Duration:
		m, d, n, err := ParseDuration(s)
		if err != nil {
			return nil, fmt.Errorf("Unable to convert '%s' to a duration", s)
		}
		return AppendDuration(nil, m, d, n), nil
	}
	return nil, fmt.Errorf("cannot make a %s from text", t)
}

// AppendInt appends v as a big-endian number of size bytes.
func AppendInt(dst []byte, v int64, size int) []byte {
	for i := size - 1; i >= 0; i-- {
		dst = append(dst, byte(v>>(8*i)))
	}
	return dst
}

// AppendText appends a scalar's plain text, without quotes: what CAST to text
// gives, and the content of its constant.
func (t *Type) AppendText(dst, b []byte) []byte {
	if len(b) == 0 && t.Kind != Text && t.Kind != Ascii && t.Kind != Blob {
		return dst
	}
	switch t.Kind {
	case Text, Ascii:
		return append(dst, b...)
	case Bigint, Counter, Int, Smallint, Tinyint:
		return strconv.AppendInt(dst, Int64(b), 10)
	case Varint:
		return BigInt(b).Append(dst, 10)
	case Decimal:
		return appendDecimalText(dst, b)
	case Float:
		return appendFloatText(dst, float64(math.Float32frombits(be32(b))), 32)
	case Double:
		return appendFloatText(dst, math.Float64frombits(be64(b)), 64)
	case Boolean:
		return strconv.AppendBool(dst, b[0] != 0)
	case Blob:
		return hex.AppendEncode(append(dst, "0x"...), b)
	case Date:
		return time.Unix((int64(be32(b))-epochDay)*86400, 0).UTC().AppendFormat(dst, "2006-01-02")
	case Time:
		return time.Unix(0, Int64(b)).UTC().AppendFormat(dst, "15:04:05.000000000")
	case Timestamp:
		return time.UnixMilli(Int64(b)).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	case Uuid, Timeuuid:
		return appendUUIDText(dst, b)
	case Inet:
		if a, ok := netip.AddrFromSlice(b); ok {
			return a.AppendTo(dst)
		}
	case Duration:
		if m, d, n, err := DecodeDuration(b); err == nil {
			return appendDurationText(dst, m, d, n)
		}
	}
	return dst
}

func appendUUIDText(dst, b []byte) []byte {
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, []byte{c})
	}
	return dst
}

func appendFloatText(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	start := len(dst)
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-3 || a >= 1e7) { // where Java changes to exponents
		format = 'E'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, bits)
	text := string(dst[start:])
	if format == 'E' {
		m, e, _ := strings.Cut(text, "E")
		if !strings.Contains(m, ".") {
			m += ".0"
		}
		exp, err := strconv.Atoi(e)
		if err != nil {
			return dst
		}
		return append(dst[:start], m+"E"+strconv.Itoa(exp)...)
	}
	if !strings.Contains(text, ".") {
		return append(dst, ".0"...)
	}
	return dst
}

func appendDecimalText(dst, b []byte) []byte {
	u, scale := DecodeDecimal(b)
	if scale == 0 {
		return u.Append(dst, 10)
	}
	digits := new(big.Int).Abs(u).String()
	if u.Sign() < 0 {
		dst = append(dst, '-')
	}
	exp := int64(len(digits)) - int64(scale) - 1
	if scale < 0 || exp < -6 { // as java.math.BigDecimal
		dst = append(dst, digits[0])
		if len(digits) > 1 {
			dst = append(append(dst, '.'), digits[1:]...)
		}
		dst = append(dst, 'E')
		if exp >= 0 {
			dst = append(dst, '+')
		}
		return strconv.AppendInt(dst, exp, 10)
	}
	if pad := int(scale) - len(digits) + 1; pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	at := len(digits) - int(scale)
	return append(append(append(dst, digits[:at]...), '.'), digits[at:]...)
}

// IsQuoted reports whether constants of t stand in single quotes.
func (t *Type) IsQuoted() bool {
	switch t.Kind {
	case Text, Ascii, Date, Time, Timestamp, Inet:
		return true
	}
	return false
}

// AppendLiteral appends a wire value as a CQL constant; nil is NULL.
func (t *Type) AppendLiteral(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "NULL"...)
	}
	switch t.Kind {
	case List, Set, Map, Tuple, UDT:
		return t.appendParts(dst, b)
	}
	if !t.IsQuoted() {
		return t.AppendText(dst, b)
	}
	dst = append(dst, '\'')
	for _, c := range t.AppendText(nil, b) {
		if c == '\'' {
			dst = append(dst, c)
		}
		dst = append(dst, c)
	}
	return append(dst, '\'')
}

func (t *Type) appendParts(dst, b []byte) []byte {
	parts, err := t.Parts(b)
	if err != nil {
		return append(dst, "NULL"...)
	}
	brackets := map[Kind]string{List: "[]", Set: "{}", Map: "{}", Tuple: "()", UDT: "{}"}[t.Kind]
	dst = append(dst, brackets[0])
	for i, p := range parts {
		switch {
		case t.Kind == Map && i%2 == 1:
			dst = append(dst, ": "...)
		case i > 0:
			dst = append(dst, ", "...)
		}
		if t.Kind == UDT {
			dst = append(append(dst, t.Fields[i]...), ": "...)
		}
		dst = t.part(i).AppendLiteral(dst, p)
	}
	return append(dst, brackets[1])
}

// float32Bits and float64Bits give a NaN the bits that Java's NaN has.
func float32Bits(f float32) uint32 {
	if f != f {
		return 0x7fc00000
	}
	return math.Float32bits(f)
}

func float64Bits(f float64) uint64 {
	if f != f {
		return 0x7ff8000000000000
	}
	return math.Float64bits(f)
}
