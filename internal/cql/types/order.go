package types

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// The first byte of an ordered value, and the end of a list of them. They order
// as Compare orders what they stand for.
const (
	orderEnd   = 0x00
	orderNull  = 0x01
	orderEmpty = 0x02
	orderValue = 0x03
)

var errOrder = errors.New("types: an ordered value is damaged")

// AppendOrdered appends a self-delimiting form of a wire value whose bytes order
// as Compare orders the values, or the other way round when desc. Of a decimal
// the trailing zeros are not kept: 1.0 and 1.00 are the same key.
func (t *Type) AppendOrdered(dst, b []byte, desc bool) []byte {
	start := len(dst)
	dst = t.appendOrdered(dst, b)
	if desc {
		flip(dst[start:])
	}
	return dst
}

func flip(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

func (t *Type) appendOrdered(dst, b []byte) []byte {
	switch {
	case b == nil:
		return append(dst, orderNull)
	case len(b) == 0:
		return append(dst, orderEmpty)
	}
	dst = append(dst, orderValue)
	switch t.Kind {
	case Bigint, Counter, Int, Smallint, Tinyint, Timestamp, Time:
		dst = append(dst, b[0]^0x80)
		return append(dst, b[1:]...)
	case Boolean, Date:
		return append(dst, b...)
	case Float:
		return binary.BigEndian.AppendUint32(dst, orderedFloat32(be32(b)))
	case Double:
		return binary.BigEndian.AppendUint64(dst, orderedFloat64(be64(b)))
	case Varint:
		return appendOrderedVarint(dst, BigInt(b))
	case Decimal:
		u, s := DecodeDecimal(b)
		return decimalOrder(dst, u, s)
	case Uuid, Timeuuid:
		return appendOrderedUUID(dst, t.Kind, b)
	case List, Set, Map, Tuple, UDT:
		parts, err := t.Parts(b)
		if err != nil { // not validated
			return append(dst, orderEnd)
		}
		for i, p := range parts {
			dst = t.part(i).appendOrdered(dst, p)
		}
		return append(dst, orderEnd)
	}
	for _, c := range b {
		dst = append(dst, c)
		if c == 0 {
			dst = append(dst, 0xFF)
		}
	}
	return append(dst, 0, 1)
}

// orderedFloat maps bits so that unsigned order is Java's float order; NaNs of
// any sign become the greatest.
func orderedFloat32(u uint32) uint32 {
	if f := math.Float32frombits(u); f != f {
		return math.MaxUint32
	}
	if u>>31 != 0 {
		return ^u
	}
	return u | 1<<31
}

func orderedFloat64(u uint64) uint64 {
	if f := math.Float64frombits(u); f != f {
		return math.MaxUint64
	}
	if u>>63 != 0 {
		return ^u
	}
	return u | 1<<63
}

func appendOrderedVarint(dst []byte, v *big.Int) []byte {
	m := v.Bytes()
	if v.Sign() >= 0 {
		dst = binary.BigEndian.AppendUint32(append(dst, 1), uint32(len(m)))
		return append(dst, m...)
	}
	dst = binary.BigEndian.AppendUint32(append(dst, 0), ^uint32(len(m)))
	at := len(dst)
	dst = append(dst, m...)
	flip(dst[at:])
	return dst
}

// decimalOrder appends sign, exponent of 0.d1d2d3…, digits without trailing
// zeros, and an end.
func decimalOrder(dst []byte, u *big.Int, scale int32) []byte {
	if u.Sign() == 0 {
		return append(dst, 1)
	}
	digits := new(big.Int).Abs(u).String()
	exp := int64(len(digits)) - int64(scale)
	digits = strings.TrimRight(digits, "0")
	dst = append(dst, 2)
	at := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(exp)^1<<63)
	dst = append(append(dst, digits...), 0)
	if u.Sign() < 0 {
		dst[at-1] = 0
		flip(dst[at:])
	}
	return dst
}

func appendOrderedUUID(dst []byte, k Kind, b []byte) []byte {
	if len(b) != 16 {
		return append(dst, make([]byte, 17)...)
	}
	if k == Uuid {
		dst = append(dst, b[6]>>4)
		if b[6]>>4 != 1 {
			return append(dst, b...)
		}
	}
	dst = append(dst, b[6:8]...)
	dst = append(dst, b[4:6]...)
	dst = append(dst, b[0:4]...)
	at := len(dst)
	dst = append(dst, b[8:16]...)
	if k == Timeuuid {
		for i := at; i < len(dst); i++ {
			dst[i] ^= 0x80
		}
	}
	return dst
}

// DecodeOrdered reads what AppendOrdered wrote: the wire value, which is a new
// slice, and what follows it in src.
func (t *Type) DecodeOrdered(src []byte, desc bool) (value, rest []byte, err error) {
	if !desc {
		return t.decodeOrdered(src)
	}
	c := append([]byte(nil), src...)
	flip(c)
	v, r, err := t.decodeOrdered(c)
	if err != nil {
		return nil, nil, err
	}
	return v, src[len(src)-len(r):], nil
}

func (t *Type) decodeOrdered(src []byte) (value, rest []byte, err error) {
	if len(src) == 0 {
		return nil, nil, errOrder
	}
	lead, src := src[0], src[1:]
	switch lead {
	case orderNull:
		return nil, src, nil
	case orderEmpty:
		return []byte{}, src, nil
	case orderValue:
	default:
		return nil, nil, errOrder
	}
	if n := fixedSizes[t.Kind]; n > 0 {
		return t.decodeFixed(src, n)
	}
	switch t.Kind {
	case Varint:
		return decodeOrderedVarint(src)
	case Decimal:
		return decodeOrderedDecimal(src)
	case List, Set, Map, Tuple, UDT:
		var parts [][]byte
		for len(src) > 0 && src[0] != orderEnd {
			if !t.IsCollection() && len(parts) == len(t.Args) {
				return nil, nil, errOrder
			}
			var p []byte
			if p, src, err = t.part(len(parts)).decodeOrdered(src); err != nil {
				return nil, nil, err
			}
			parts = append(parts, p)
		}
		if len(src) == 0 {
			return nil, nil, errOrder
		}
		return t.Join(parts), src[1:], nil
	}
	out := make([]byte, 0, len(src))
	for i := 0; i+1 < len(src); i++ {
		if src[i] != 0 {
			out = append(out, src[i])
			continue
		}
		if src[i+1] == 1 {
			return out, src[i+2:], nil
		}
		out = append(out, 0)
		i++
	}
	return nil, nil, errOrder
}

func (t *Type) decodeFixed(src []byte, n int) (value, rest []byte, err error) {
	if t.Kind == Uuid {
		n++
	}
	if len(src) < n {
		return nil, nil, errOrder
	}
	v, rest := append([]byte(nil), src[:n]...), src[n:]
	switch t.Kind {
	case Bigint, Counter, Int, Smallint, Tinyint, Timestamp, Time:
		v[0] ^= 0x80
	case Float, Double:
		switch {
		case v[0]&0x80 == 0:
			flip(v)
		case t.Kind == Float && be32(v) == math.MaxUint32:
			v = binary.BigEndian.AppendUint32(nil, 0x7fc00000)
		case t.Kind == Double && be64(v) == math.MaxUint64:
			v = binary.BigEndian.AppendUint64(nil, 0x7ff8000000000000)
		default:
			v[0] ^= 0x80
		}
	case Uuid, Timeuuid:
		v = decodeOrderedUUID(t.Kind, v)
	}
	return v, rest, nil
}

func decodeOrderedUUID(k Kind, v []byte) []byte {
	if k == Uuid {
		version := v[0]
		v = v[1:]
		if version != 1 {
			return v
		}
	}
	u := make([]byte, 16)
	copy(u[6:8], v[0:2])
	copy(u[4:6], v[2:4])
	copy(u[0:4], v[4:8])
	copy(u[8:], v[8:16])
	if k == Timeuuid {
		for i := 8; i < 16; i++ {
			u[i] ^= 0x80
		}
	}
	return u
}

func decodeOrderedVarint(src []byte) (value, rest []byte, err error) {
	if len(src) < 5 || src[0] > 1 {
		return nil, nil, errOrder
	}
	negative, n := src[0] == 0, binary.BigEndian.Uint32(src[1:])
	if negative {
		n = ^n
	}
	src = src[5:]
	if uint64(n) > uint64(len(src)) {
		return nil, nil, errOrder
	}
	m := append([]byte(nil), src[:n]...)
	if negative {
		flip(m)
	}
	v := new(big.Int).SetBytes(m)
	if negative {
		v.Neg(v)
	}
	return AppendBigInt(nil, v), src[n:], nil
}

func decodeOrderedDecimal(src []byte) (value, rest []byte, err error) {
	if len(src) == 0 || src[0] > 2 {
		return nil, nil, errOrder
	}
	s, body := src[0], src[1:]
	if s == 1 {
		return AppendDecimal(nil, new(big.Int), 0), body, nil
	}
	end := byte(0)
	if s == 0 {
		end = 0xFF
	}
	if len(body) < 9 {
		return nil, nil, errOrder
	}
	n := 8
	for n < len(body) && body[n] != end {
		n++
	}
	if n == len(body) || n == 8 {
		return nil, nil, errOrder
	}
	b := append([]byte(nil), body[:n]...)
	if s == 0 {
		flip(b)
	}
	exp := int64(binary.BigEndian.Uint64(b) ^ 1<<63)
	u, ok := new(big.Int).SetString(string(b[8:]), 10)
	if !ok {
		return nil, nil, errOrder
	}
	scale := int64(len(b)-8) - exp
	if scale != int64(int32(scale)) {
		return nil, nil, errors.New("types: a decimal's scale does not fit: " + strconv.FormatInt(scale, 10))
	}
	if scale < 0 && scale > -64 { // 100 is kept as 100, not as 1E+2
		u.Mul(u, new(big.Int).Exp(big.NewInt(10), big.NewInt(-scale), nil))
		scale = 0
	}
	if s == 0 {
		u.Neg(u)
	}
	return AppendDecimal(nil, u, int32(scale)), body[n+1:], nil
}
