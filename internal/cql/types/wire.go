package types

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"time"
	"unicode/utf8"
)

// fixedSizes are the lengths in bytes of the types that have one.
var fixedSizes = [UDT + 1]int{
	Bigint: 8, Boolean: 1, Counter: 8, Date: 4, Double: 8, Float: 4, Int: 4, Smallint: 2, Time: 8,
	Timestamp: 8, Timeuuid: 16, Tinyint: 1, Uuid: 16,
}

// maxTimeOfDay is the greatest time, in nanoseconds since midnight.
const maxTimeOfDay = int64(24*time.Hour) - 1

// Validate checks that b is a wire value of t. A zero-length value is accepted
// for every scalar, as Cassandra does for old clients' sake, but for the four
// types that came later. The error's text is Cassandra's.
func (t *Type) Validate(b []byte) error {
	n := len(b)
	switch t.Kind {
	case List, Set, Map, Tuple, UDT:
		return t.validateParts(b)
	case Date, Time, Smallint, Tinyint:
		if n != fixedSizes[t.Kind] {
			return fmt.Errorf("Expected %d byte value for %s (%d)", fixedSizes[t.Kind], t.Kind, n)
		}
		if t.Kind == Time {
			if v := Int64(b); v < 0 || v > maxTimeOfDay {
				return fmt.Errorf("%d is not a time of day in nanoseconds", v)
			}
		}
		return nil
	case Duration:
		_, _, _, err := DecodeDuration(b)
		return err
	}
	if n == 0 {
		return nil
	}
	switch t.Kind {
	case Boolean:
		if n != 1 {
			return fmt.Errorf("Expected 1 or 0 byte value (%d)", n)
		}
	case Int, Float:
		if n != 4 {
			return fmt.Errorf("Expected 4 or 0 byte %s (%d)", t.Kind, n)
		}
	case Bigint, Counter, Double, Timestamp:
		if n != 8 {
			return fmt.Errorf("Expected 8 or 0 byte long (%d)", n)
		}
	case Uuid, Timeuuid:
		if n != 16 {
			return fmt.Errorf("%s should be 16 or 0 bytes (%d)", map[Kind]string{Uuid: "UUID", Timeuuid: "TimeUUID"}[t.Kind], n)
		}
		if t.Kind == Timeuuid && b[6]>>4 != 1 {
			return fmt.Errorf("Invalid version for TimeUUID type.")
		}
	case Inet:
		if n != 4 && n != 16 {
			return fmt.Errorf("unable to make inetaddress from '%x'", b)
		}
	case Ascii:
		for _, c := range b {
			if c >= utf8.RuneSelf {
				return fmt.Errorf("Invalid byte for ascii: %d", int8(c))
			}
		}
	case Text:
		if !utf8.Valid(b) {
			return fmt.Errorf("String didn't validate.")
		}
	case Decimal:
		if n < 5 {
			return fmt.Errorf("Expected at least 5 bytes for a decimal (%d)", n)
		}
	}
	return nil
}

// Parts splits a value of a list, set, map (keys and values in turn), tuple or
// UDT. A nil part is null. Tuples and UDTs may be shorter than their type.
func (t *Type) Parts(b []byte) ([][]byte, error) {
	want := len(t.Args)
	if t.IsCollection() {
		if len(b) < 4 {
			return nil, fmt.Errorf("Not enough bytes to read a %s", t.Kind)
		}
		count := int64(int32(binary.BigEndian.Uint32(b)))
		b = b[4:]
		if t.Kind == Map {
			count *= 2
		}
		// Every part has at least its length, so the count cannot exceed that.
		if count < 0 || count > int64(len(b)/4) {
			return nil, fmt.Errorf("Not enough bytes to read a %s", t.Kind)
		}
		want = int(count)
	}
	parts := make([][]byte, 0, want)
	for len(parts) < want && (len(b) > 0 || t.IsCollection()) {
		if len(b) < 4 {
			return nil, fmt.Errorf("Not enough bytes to read size of %dth component", len(parts))
		}
		n := int64(int32(binary.BigEndian.Uint32(b)))
		b = b[4:]
		if n < 0 {
			parts = append(parts, nil)
			continue
		}
		if n > int64(len(b)) {
			return nil, fmt.Errorf("Not enough bytes to read %dth component", len(parts))
		}
		parts = append(parts, b[:n:n])
		b = b[n:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("Unexpected extraneous bytes after %s value", t.Kind)
	}
	return parts, nil
}

// part gives the type of the i-th of Parts.
func (t *Type) part(i int) *Type {
	switch t.Kind {
	case List, Set:
		return t.Args[0]
	case Map:
		return t.Args[i%2]
	}
	return t.Args[i]
}

func (t *Type) validateParts(b []byte) error {
	if len(b) == 0 && !t.IsCollection() {
		return nil
	}
	parts, err := t.Parts(b)
	if err != nil {
		return err
	}
	for i, p := range parts {
		if p == nil {
			if t.IsCollection() {
				return fmt.Errorf("null is not supported inside collections")
			}
			continue
		}
		if err := t.part(i).Validate(p); err != nil {
			return err
		}
	}
	return nil
}

// Join is the reverse of Parts. Sets and maps must be sorted; see Normalize.
func (t *Type) Join(parts [][]byte) []byte {
	n := 4
	for _, p := range parts {
		n += 4 + len(p)
	}
	b := make([]byte, 0, n)
	if t.IsCollection() {
		count := len(parts)
		if t.Kind == Map {
			count /= 2
		}
		b = binary.BigEndian.AppendUint32(b, uint32(count))
	}
	for _, p := range parts {
		if p == nil {
			b = binary.BigEndian.AppendUint32(b, math.MaxUint32)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// Normalize sorts the parts of a set or map and removes duplicates (of a key,
// the last value stays), since clients send them in any order.
func (t *Type) Normalize(parts [][]byte) [][]byte {
	step := 1
	switch t.Kind {
	case Map:
		step = 2
	case Set:
	default:
		return parts
	}
	n := len(parts) / step
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return t.Args[0].Compare(parts[a*step], parts[b*step]) })
	out := make([][]byte, 0, len(parts))
	for _, i := range order {
		if len(out) > 0 && t.Args[0].Compare(out[len(out)-step], parts[i*step]) == 0 {
			out = out[:len(out)-step]
		}
		out = append(out, parts[i*step:i*step+step]...)
	}
	return out
}

// Canonical gives a validated value in the form in which it is kept: frozen sets
// and maps sorted, at every level.
func (t *Type) Canonical(b []byte) []byte {
	if len(t.Args) == 0 || len(b) == 0 {
		return b
	}
	parts, err := t.Parts(b)
	if err != nil {
		return b // not validated: Validate tells why
	}
	for i, p := range parts {
		if p != nil {
			parts[i] = t.part(i).Canonical(p)
		}
	}
	return t.Join(t.Normalize(parts))
}

// Int64 reads a big-endian two's complement number of at most 8 bytes.
func Int64(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	v := int64(int8(b[0]))
	for _, c := range b[1:min(len(b), 8)] {
		v = v<<8 | int64(c)
	}
	return v
}

// BigInt reads a varint.
func BigInt(b []byte) *big.Int {
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
	}
	return v
}

// AppendBigInt appends a varint: the shortest two's complement.
func AppendBigInt(dst []byte, v *big.Int) []byte {
	if v.Sign() >= 0 {
		b := v.Bytes()
		if len(b) == 0 || b[0]&0x80 != 0 {
			dst = append(dst, 0)
		}
		return append(dst, b...)
	}
	// -v-1 has the inverted bits of v.
	b := new(big.Int).Not(v).Bytes()
	if len(b) == 0 || b[0]&0x80 != 0 {
		dst = append(dst, 0xFF)
	}
	for _, c := range b {
		dst = append(dst, ^c)
	}
	return dst
}

// DecodeDecimal reads a decimal: unscaled value and scale.
func DecodeDecimal(b []byte) (unscaled *big.Int, scale int32) {
	if len(b) < 4 {
		return new(big.Int), 0
	}
	return BigInt(b[4:]), int32(binary.BigEndian.Uint32(b))
}

// AppendDecimal appends a decimal.
func AppendDecimal(dst []byte, unscaled *big.Int, scale int32) []byte {
	return AppendBigInt(binary.BigEndian.AppendUint32(dst, uint32(scale)), unscaled)
}

// Compare orders wire values as Cassandra's comparators do: -1, 0 or 1. nil is
// less than everything, a zero-length value less than any other.
func (t *Type) Compare(a, b []byte) int {
	if len(a) == 0 || len(b) == 0 {
		if (a == nil) != (b == nil) {
			return boolInt(b == nil) - boolInt(a == nil)
		}
		return sign(len(a) - len(b))
	}
	switch t.Kind {
	case Bigint, Counter, Int, Smallint, Tinyint, Timestamp, Time:
		return compareInts(Int64(a), Int64(b))
	case Float:
		return compareFloats(float64(math.Float32frombits(be32(a))), float64(math.Float32frombits(be32(b))))
	case Double:
		return compareFloats(math.Float64frombits(be64(a)), math.Float64frombits(be64(b)))
	case Varint:
		return BigInt(a).Cmp(BigInt(b))
	case Decimal:
		return compareDecimals(a, b)
	case Uuid, Timeuuid:
		return compareUUIDs(t.Kind, a, b)
	case List, Set, Map, Tuple, UDT:
		return t.compareParts(a, b)
	}
	return bytes.Compare(a, b)
}

func sign(n int) int { return boolInt(n > 0) - boolInt(n < 0) }

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compareInts(a, b int64) int { return boolInt(a > b) - boolInt(a < b) }

// compareFloats is Java's Double.compare: NaN is the greatest, -0 less than 0.
func compareFloats(a, b float64) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return compareInts(floatOrder(a), floatOrder(b))
}

func floatOrder(f float64) int64 {
	if math.IsNaN(f) {
		return math.MaxInt64
	}
	v := int64(math.Float64bits(f))
	return v ^ v>>63&math.MaxInt64
}

func be32(b []byte) uint32 {
	var w [4]byte
	copy(w[:], b)
	return binary.BigEndian.Uint32(w[:])
}

func be64(b []byte) uint64 {
	var w [8]byte
	copy(w[:], b)
	return binary.BigEndian.Uint64(w[:])
}

func compareDecimals(a, b []byte) int {
	au, as := DecodeDecimal(a)
	bu, bs := DecodeDecimal(b)
	if c := sign(au.Sign() - bu.Sign()); c != 0 || au.Sign() == 0 {
		return c
	}
	ka, kb := decimalOrder(nil, au, as), decimalOrder(nil, bu, bs)
	return bytes.Compare(ka, kb)
}

// uuidTime gives the 60-bit time of a version 1 UUID, in 100 ns since 1582.
func uuidTime(b []byte) uint64 {
	return uint64(b[6]&0x0F)<<56 | uint64(b[7])<<48 | uint64(b[4])<<40 | uint64(b[5])<<32 | uint64(be32(b))
}

// compareUUIDs: timeuuid by time, then by signed bytes; uuid by version first,
// then time for version 1, else by unsigned bytes.
func compareUUIDs(k Kind, a, b []byte) int {
	if len(a) != 16 || len(b) != 16 {
		return bytes.Compare(a, b)
	}
	if k == Uuid {
		if c := compareInts(int64(a[6]>>4), int64(b[6]>>4)); c != 0 {
			return c
		}
		if a[6]>>4 != 1 {
			return bytes.Compare(a, b)
		}
	}
	if c := compareInts(int64(uuidTime(a)), int64(uuidTime(b))); c != 0 {
		return c
	}
	if k == Uuid {
		return bytes.Compare(a[8:], b[8:])
	}
	for i := 8; i < 16; i++ {
		if c := compareInts(int64(int8(a[i])), int64(int8(b[i]))); c != 0 {
			return c
		}
	}
	return 0
}

func (t *Type) compareParts(a, b []byte) int {
	pa, ea := t.Parts(a)
	pb, eb := t.Parts(b)
	if ea != nil || eb != nil {
		return bytes.Compare(a, b)
	}
	for i := 0; i < len(pa) && i < len(pb); i++ {
		if c := t.part(i).Compare(pa[i], pb[i]); c != 0 {
			return c
		}
	}
	return sign(len(pa) - len(pb))
}
