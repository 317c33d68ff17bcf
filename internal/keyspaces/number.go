package keyspaces

import (
	"encoding/binary"
	"math"
	"math/big"
	"strconv"

	"spoor/internal/cql"
	"spoor/internal/cql/types"
)

// number is the exact value of a numeric wire value; ok is false for NaN and
// the infinities.
func number(t *types.Type, b []byte) (r *big.Rat, f float64, ok bool) {
	switch t.Kind {
	case types.Float:
		f = float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
	case types.Double:
		f = math.Float64frombits(binary.BigEndian.Uint64(b))
	case types.Varint:
		return new(big.Rat).SetInt(types.BigInt(b)), 0, true
	case types.Decimal:
		u, scale := types.DecodeDecimal(b)
		if scale > maxScale || scale < -maxScale {
			return nil, math.NaN(), false
		}
		r = new(big.Rat).SetInt(u)
		p := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(scale, -scale))), nil))
		if scale > 0 {
			return r.Quo(r, p), 0, true
		}
		return r.Mul(r, p), 0, true
	default:
		return new(big.Rat).SetInt64(types.Int64(b)), 0, true
	}
	if r = new(big.Rat).SetFloat64(f); r == nil {
		return nil, f, false
	}
	return r, f, true
}

// maxScale bounds the decimals that are calculated with.
const maxScale = 10_000

// castNumber converts between numeric types as Java does: integers are cut to
// their size, fractions are cut off.
func castNumber(from, to *types.Type, b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r, f, ok := number(from, b)
	if !ok {
		switch to.Kind {
		case types.Float:
			return binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(f))), nil
		case types.Double:
			return binary.BigEndian.AppendUint64(nil, math.Float64bits(f)), nil
		}
		return nil, cql.Invalid("A value that is not a finite number cannot be cast to %s", to)
	}
	return fromNumber(to, r), nil
}

func fromNumber(t *types.Type, r *big.Rat) []byte {
	switch t.Kind {
	case types.Float:
		f, _ := r.Float32()
		return binary.BigEndian.AppendUint32(nil, math.Float32bits(f))
	case types.Double:
		f, _ := r.Float64()
		return binary.BigEndian.AppendUint64(nil, math.Float64bits(f))
	case types.Decimal:
		return appendRat(r)
	}
	whole := new(big.Int).Quo(r.Num(), r.Denom())
	if t.Kind == types.Varint {
		return types.AppendBigInt(nil, whole)
	}
	size := map[types.Kind]int{types.Tinyint: 1, types.Smallint: 2, types.Int: 4, types.Bigint: 8, types.Counter: 8}[t.Kind]
	low := new(big.Int).And(whole, new(big.Int).SetUint64(math.MaxUint64)) // two's complement, as And defines it
	return types.AppendInt(nil, int64(low.Uint64()), size)
}

// appendRat writes a rational as a decimal, with as many digits as it takes or
// 34 beyond the point.
func appendRat(r *big.Rat) []byte {
	digits, exact := r.FloatPrec()
	if !exact || digits > 34 {
		digits = 34
	}
	b, err := types.Scalar(types.Decimal).FromText(r.FloatString(digits))
	if err != nil { // FloatString gives a plain decimal number
		return types.AppendDecimal(nil, new(big.Int), 0)
	}
	return b
}

// aggregate accumulates the values of a column.
type aggregate struct {
	name  string
	t     *types.Type // of the values
	count int64
	best  []byte
	sum   *big.Rat
	odd   float64 // the sum of what is not finite
	isOdd bool
}

// add takes a value; null is left out, but for count(*), which t tells by nil.
func (a *aggregate) add(b []byte) {
	if a.t == nil {
		a.count++
		return
	}
	if b == nil || len(b) == 0 && a.t.IsNumber() {
		return
	}
	a.count++
	switch a.name {
	case "min", "max":
		c := 1
		if a.best != nil {
			c = a.t.Compare(b, a.best)
			if a.name == "min" {
				c = -c
			}
		}
		if c > 0 {
			a.best = append([]byte{}, b...)
		}
	case "sum", "avg":
		r, f, ok := number(a.t, b)
		if !ok {
			a.odd, a.isOdd = a.odd+f, true
			return
		}
		if a.sum == nil {
			a.sum = new(big.Rat)
		}
		a.sum.Add(a.sum, r)
	}
}

func (a *aggregate) result() []byte {
	switch a.name {
	case "count":
		return types.AppendInt(nil, a.count, 8)
	case "min", "max":
		return a.best
	}
	if a.isOdd {
		b, err := types.Scalar(types.Double).FromText(strconv.FormatFloat(a.odd, 'g', -1, 64))
		if err == nil && a.t.Kind == types.Float {
			return binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(a.odd)))
		}
		return b
	}
	sum := a.sum
	if sum == nil {
		sum = new(big.Rat)
	}
	if a.name == "avg" && a.count > 0 {
		sum = new(big.Rat).Quo(sum, new(big.Rat).SetInt64(a.count))
	}
	return fromNumber(a.t, sum)
}
