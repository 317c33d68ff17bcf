package types

import (
	"errors"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// AppendDuration appends a duration: three zig-zag vints.
func AppendDuration(dst []byte, months, days int32, nanos int64) []byte {
	return appendVint(appendVint(appendVint(dst, int64(months)), int64(days)), nanos)
}

// appendVint appends Cassandra's signed variable-length integer: the number of
// leading one bits of the first byte is the number of bytes that follow.
func appendVint(dst []byte, v int64) []byte {
	u := uint64(v<<1) ^ uint64(v>>63)
	extra := (bits.Len64(u|1) - 1) / 7
	if extra >= 8 {
		dst = append(dst, 0xFF)
		extra = 8
	} else {
		dst = append(dst, byte(u>>(8*extra))|^byte(0xFF>>extra))
	}
	for i := extra - 1; i >= 0; i-- {
		dst = append(dst, byte(u>>(8*i)))
	}
	return dst
}

func readVint(b []byte) (int64, []byte, bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	extra := bits.LeadingZeros8(^b[0])
	if len(b) < 1+extra {
		return 0, nil, false
	}
	var u uint64
	if extra < 8 {
		u = uint64(b[0] & (0xFF >> extra))
	}
	for _, c := range b[1 : 1+extra] {
		u = u<<8 | uint64(c)
	}
	return int64(u>>1) ^ -int64(u&1), b[1+extra:], true
}

// DecodeDuration reads a duration.
func DecodeDuration(b []byte) (months, days int32, nanos int64, err error) {
	m, b, ok1 := readVint(b)
	d, b, ok2 := readVint(b)
	n, b, ok3 := readVint(b)
	if !ok1 || !ok2 || !ok3 || len(b) > 0 {
		return 0, 0, 0, errors.New("Expected at least 3 bytes for a duration")
	}
	if m != int64(int32(m)) || d != int64(int32(d)) {
		return 0, 0, 0, errors.New("The duration's months and days must be 32-bit integers")
	}
	if (m > 0 || d > 0 || n > 0) && (m < 0 || d < 0 || n < 0) {
		return 0, 0, 0, errors.New("The duration months, days and nanoseconds must be all of the same sign")
	}
	return int32(m), int32(d), n, nil
}

var errDuration = errors.New("not a duration")

// durationUnits are the units of the form 1h30m: which part, and how many of it.
var durationUnits = map[string]struct {
	part   int // 0 months, 1 days, 2 nanoseconds
	factor int64
}{
	"y": {0, 12}, "mo": {0, 1}, "w": {1, 7}, "d": {1, 1}, "h": {2, 3600e9}, "m": {2, 60e9}, "s": {2, 1e9},
	"ms": {2, 1e6}, "us": {2, 1e3}, "µs": {2, 1e3}, "ns": {2, 1},
}

// ParseDuration reads 1y2mo3h, P1Y2M3DT4H, P2W and P0001-02-03T04:05:06 (CQL,
// "Working with durations"), with an optional minus sign.
func ParseDuration(s string) (months, days int32, nanos int64, err error) {
	text, negative := strings.CutPrefix(s, "-")
	var parts [3]int64
	if p := strings.ToUpper(text); strings.HasPrefix(p, "P") {
		err = parseISODuration(p[1:], &parts)
	} else {
		err = parseUnits(strings.ToLower(text), &parts)
	}
	if err != nil || parts[0] > math.MaxInt32 || parts[1] > math.MaxInt32 {
		return 0, 0, 0, errDuration
	}
	if negative {
		return int32(-parts[0]), int32(-parts[1]), -parts[2], nil
	}
	return int32(parts[0]), int32(parts[1]), parts[2], nil
}

func addDuration(parts *[3]int64, digits, unit string) error {
	u, ok := durationUnits[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n > (math.MaxInt64-parts[u.part])/u.factor {
		return errDuration
	}
	parts[u.part] += n * u.factor
	return nil
}

func parseUnits(s string, parts *[3]int64) error {
	if s == "" {
		return errDuration
	}
	for s != "" {
		n := len(s) - len(strings.TrimLeft(s, "0123456789"))
		rest := s[n:]
		u := strings.IndexAny(rest, "0123456789")
		if u < 0 {
			u = len(rest)
		}
		if err := addDuration(parts, s[:n], rest[:u]); err != nil {
			return err
		}
		s = rest[u:]
	}
	return nil
}

func parseISODuration(s string, parts *[3]int64) error {
	date, clock, hasTime := strings.Cut(s, "T")
	if strings.Count(date, "-") == 2 {
		f := append(strings.Split(date, "-"), strings.Split(clock, ":")...)
		if len(f) != 6 {
			return errDuration
		}
		for i, unit := range []string{"y", "mo", "d", "h", "m", "s"} {
			if err := addDuration(parts, f[i], unit); err != nil {
				return err
			}
		}
		return nil
	}
	if date == "" && !hasTime {
		return errDuration
	}
	if date != "" {
		if err := parseUnits(strings.ReplaceAll(strings.ToLower(date), "m", "mo"), parts); err != nil {
			return err
		}
	}
	if hasTime {
		return parseUnits(strings.ToLower(clock), parts)
	}
	return nil
}

// appendDurationText appends the form 1y2mo3d4h5m6s.
func appendDurationText(dst []byte, months, days int32, nanos int64) []byte {
	if months < 0 || days < 0 || nanos < 0 {
		dst = append(dst, '-')
	}
	start := len(dst)
	put := func(v *uint64, factor uint64, unit string) {
		if n := *v / factor; n > 0 {
			dst = append(strconv.AppendUint(dst, n, 10), unit...)
			*v %= factor
		}
	}
	m, d, n := magnitude(int64(months)), magnitude(int64(days)), magnitude(nanos)
	put(&m, 12, "y")
	put(&m, 1, "mo")
	put(&d, 1, "d")
	put(&n, 3600e9, "h")
	put(&n, 60e9, "m")
	put(&n, 1e9, "s")
	put(&n, 1e6, "ms")
	put(&n, 1e3, "us")
	put(&n, 1, "ns")
	if len(dst) == start {
		dst = append(dst, "0ns"...)
	}
	return dst
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}
