package serde

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"spoor/internal/athena/sql"
	"spoor/internal/engine/duckdb"
)

// FromText turns the text of a partition's value into the Go value of its
// column's type.
func FromText(s string, t sql.Type) (any, error) { return fromText(s, t) }

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
		return cut(s, t), nil
	case "boolean":
		switch {
		case strings.EqualFold(s, "true"):
			return true, nil
		case strings.EqualFold(s, "false"):
			return false, nil
		}
		return nil, bad(errors.New("neither"))
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

// cut shortens a text to the characters that varchar(n) and char(n) hold.
func cut(s string, t sql.Type) string {
	if len(t.Params) != 1 || len(s) <= t.Params[0] {
		return s
	}
	n := 0
	for i := range s {
		if n == t.Params[0] {
			return s[:i]
		}
		n++
	}
	return s
}

// maxDecimal bounds a decimal's text and exponent; decimals have 38 digits.
const maxDecimal = 100

// decimalOf reads a decimal and rounds it half up to the column's scale, as Hive
// does.
func decimalOf(s string, t sql.Type) (any, error) {
	bad := fmt.Errorf("%q is no %s", s, t)
	if len(t.Params) != 2 || len(s) > maxDecimal {
		return nil, bad
	}
	// big.Rat reads more than numbers, and an exponent may ask for any memory.
	mantissa, exp, hasExp := strings.Cut(strings.ToLower(s), "e")
	if strings.Trim(mantissa, "0123456789+-.") != "" {
		return nil, bad
	}
	if n, err := strconv.Atoi(exp); hasExp && (err != nil || n > maxDecimal || n < -maxDecimal) {
		return nil, bad
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil, bad
	}
	ten := big.NewInt(10)
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(ten, big.NewInt(int64(t.Params[1])), nil)))
	half := big.NewRat(1, 2)
	if r.Sign() < 0 {
		half.Neg(half)
	}
	r.Add(r, half)
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if n.CmpAbs(new(big.Int).Exp(ten, big.NewInt(int64(t.Params[0])), nil)) >= 0 {
		return nil, bad
	}
	return duckdb.Decimal{Width: uint8(t.Params[0]), Scale: uint8(t.Params[1]), Value: n}, nil
}

// mapKey is a key of a map: of a type that a Go map takes.
func mapKey(s string, t sql.Type) (any, error) {
	k, err := fromText(s, t)
	if b, ok := k.([]byte); ok {
		return string(b), err
	}
	return k, err
}
