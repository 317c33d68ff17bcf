package types

import (
	"fmt"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/frame"
)

// Value is the value of an expression: wire bytes, null or unset.
type Value struct {
	Data  []byte // nil: null, unless Unset
	Unset bool   // a bound value that was not given
}

// Env is what an expression's value depends on beside its text.
type Env struct {
	// Values are bound to the markers, by index.
	Values []frame.Value
	// Functions evaluates calls; nil means that none are allowed.
	Functions Functions
}

// Functions evaluates function calls. An interface and not a func, so that an
// execution does not allocate a closure for it.
type Functions interface {
	// Call gives a function's value as a value of type want.
	Call(f *ast.FunctionCall, want *Type) ([]byte, error)
}

// accepts lists which forms of constants a scalar may be written in.
var accepts = [UDT + 1][]ast.LiteralKind{
	Ascii: {ast.StringLiteral}, Text: {ast.StringLiteral}, Inet: {ast.StringLiteral},
	Date: {ast.StringLiteral, ast.IntegerLiteral}, Time: {ast.StringLiteral, ast.IntegerLiteral},
	Timestamp: {ast.StringLiteral, ast.IntegerLiteral},
	Bigint:    {ast.IntegerLiteral}, Counter: {ast.IntegerLiteral}, Int: {ast.IntegerLiteral},
	Smallint: {ast.IntegerLiteral}, Tinyint: {ast.IntegerLiteral}, Varint: {ast.IntegerLiteral},
	Decimal: {ast.IntegerLiteral, ast.FloatLiteral}, Double: {ast.IntegerLiteral, ast.FloatLiteral},
	Float: {ast.IntegerLiteral, ast.FloatLiteral},
	Uuid:  {ast.UUIDLiteral}, Timeuuid: {ast.UUIDLiteral}, Boolean: {ast.BooleanLiteral}, Blob: {ast.BlobLiteral},
	Duration: {ast.DurationLiteral},
}

var literalNames = [...]string{
	ast.NullLiteral: "NULL", ast.StringLiteral: "STRING", ast.IntegerLiteral: "INTEGER", ast.FloatLiteral: "FLOAT",
	ast.BooleanLiteral: "BOOLEAN", ast.UUIDLiteral: "UUID", ast.BlobLiteral: "HEX", ast.DurationLiteral: "DURATION",
}

// Coerce gives an expression's value as a value of type t. receiver is what the
// value is for, as error texts name it. Errors are *cql.Error of code Invalid.
func Coerce(e ast.Expr, t *Type, receiver string, env *Env) (Value, error) {
	switch e := e.(type) {
	case *ast.BindMarker:
		return bound(e, t, env)
	case *ast.Literal:
		return literal(e, t, receiver)
	case *ast.ListLiteral:
		return items(e.Items, List, t, receiver, env)
	case *ast.SetLiteral:
		if len(e.Items) == 0 && t.Kind == Map {
			return Value{Data: t.Join(nil)}, nil
		}
		return items(e.Items, Set, t, receiver, env)
	case *ast.MapLiteral:
		return mapEntries(e, t, receiver, env)
	case *ast.TupleLiteral:
		if t.Kind != Tuple && len(e.Items) == 1 {
			return Coerce(e.Items[0], t, receiver, env)
		}
		return tuple(e, t, receiver, env)
	case *ast.UDTLiteral:
		return udt(e, t, receiver, env)
	case *ast.TypeHint:
		hint, err := Resolve(e.Type, t.Keyspace, func(string, string) (*Type, bool) { return t, t.Kind == UDT })
		if err != nil {
			return Value{}, err
		}
		if !Assignable(t, hint) {
			return Value{}, cql.Invalid("Cannot assign value %s to %s of type %s", ast.String(e), receiver, t)
		}
		return Coerce(e.Value, hint, receiver, env)
	case *ast.FunctionCall:
		if env.Functions != nil {
			b, err := env.Functions.Call(e, t)
			return Value{Data: b}, err
		}
	}
	return Value{}, cql.Invalid("Invalid value %s for \"%s\" of type %s", ast.String(e), receiver, t)
}

// Assignable reports whether a value of type from may be given where one of type
// to is wanted: the same type, or one whose values are values of the other.
func Assignable(to, from *Type) bool {
	if to.sameValues(from) {
		return true
	}
	switch to.Kind {
	case Text:
		return from.Kind == Ascii
	case Blob:
		return len(from.Args) == 0
	case Bigint, Counter:
		return from.Kind == Bigint || from.Kind == Counter || from.Kind == Timestamp
	case Uuid:
		return from.Kind == Timeuuid
	case Varint:
		return from.Kind == Bigint || from.Kind == Int
	}
	return false
}

func bound(m *ast.BindMarker, t *Type, env *Env) (Value, error) {
	if m.Index >= len(env.Values) {
		return Value{}, cql.Invalid("Invalid amount of bind variables")
	}
	v := &env.Values[m.Index]
	switch v.Kind {
	case frame.ValueNull:
		return Value{}, nil
	case frame.ValueUnset:
		return Value{Unset: true}, nil
	}
	if err := t.Validate(v.Data); err != nil {
		return Value{}, cql.Invalid("%s", err.Error())
	}
	if v.Data == nil {
		return Value{Data: []byte{}}, nil
	}
	return Value{Data: t.Canonical(v.Data)}, nil
}

func literal(l *ast.Literal, t *Type, receiver string) (Value, error) {
	if l.Kind == ast.NullLiteral {
		return Value{}, nil
	}
	ok := false
	for _, k := range accepts[t.Kind] {
		ok = ok || k == l.Kind
	}
	if !ok {
		return Value{}, cql.Invalid("Invalid %s constant (%s) for \"%s\" of type %s", literalNames[l.Kind], l.Text, receiver, t)
	}
	b, err := t.FromText(l.Text)
	if err != nil {
		return Value{}, cql.Invalid("%s", err.Error())
	}
	return Value{Data: b}, nil
}

func badLiteral(k Kind, t *Type, receiver string) error {
	name := k.String()
	if k == UDT {
		name = "user type"
	}
	return cql.Invalid("Invalid %s literal for %s of type %s", name, receiver, t)
}

// component is the receiver's name of a part of a value.
func component(t *Type, i int, receiver string) string {
	switch {
	case t.Kind == Map && i%2 == 0:
		return "key(" + receiver + ")"
	case t.IsCollection():
		return "value(" + receiver + ")"
	case t.Kind == UDT:
		return receiver + "." + t.Fields[i]
	}
	return fmt.Sprintf("%s[%d]", receiver, i)
}

// partValue is the value of a part that must not be unset, nor null in a
// collection.
func partValue(e ast.Expr, t *Type, i int, receiver string, env *Env) ([]byte, error) {
	v, err := Coerce(e, t.part(i), component(t, i, receiver), env)
	switch {
	case err != nil:
		return nil, err
	case v.Unset:
		return nil, cql.Invalid("Invalid unset value for %s", component(t, i, receiver))
	case v.Data == nil && t.IsCollection():
		return nil, cql.Invalid("null is not supported inside collections")
	}
	return v.Data, nil
}

func items(list []ast.Expr, k Kind, t *Type, receiver string, env *Env) (Value, error) {
	if t.Kind != k {
		return Value{}, badLiteral(k, t, receiver)
	}
	parts := make([][]byte, len(list))
	for i, e := range list {
		var err error
		if parts[i], err = partValue(e, t, i, receiver, env); err != nil {
			return Value{}, err
		}
	}
	return Value{Data: t.Join(t.Normalize(parts))}, nil
}

func mapEntries(m *ast.MapLiteral, t *Type, receiver string, env *Env) (Value, error) {
	if t.Kind != Map {
		return Value{}, badLiteral(Map, t, receiver)
	}
	parts := make([][]byte, 0, 2*len(m.Entries))
	for _, e := range m.Entries {
		for i, x := range [2]ast.Expr{e.Key, e.Value} {
			b, err := partValue(x, t, i, receiver, env)
			if err != nil {
				return Value{}, err
			}
			parts = append(parts, b)
		}
	}
	return Value{Data: t.Join(t.Normalize(parts))}, nil
}

func tuple(l *ast.TupleLiteral, t *Type, receiver string, env *Env) (Value, error) {
	if t.Kind != Tuple {
		return Value{}, badLiteral(Tuple, t, receiver)
	}
	if len(l.Items) > len(t.Args) {
		return Value{}, cql.Invalid("Invalid tuple literal for %s: too many elements. Type %s expects %d but got %d", receiver, t, len(t.Args), len(l.Items))
	}
	parts := make([][]byte, len(l.Items))
	for i, e := range l.Items {
		var err error
		if parts[i], err = partValue(e, t, i, receiver, env); err != nil {
			return Value{}, err
		}
	}
	return Value{Data: t.Join(parts)}, nil
}

func udt(l *ast.UDTLiteral, t *Type, receiver string, env *Env) (Value, error) {
	if t.Kind != UDT {
		return Value{}, badLiteral(UDT, t, receiver)
	}
	parts := make([][]byte, len(t.Args))
	for _, f := range l.Fields {
		i := t.FieldIndex(f.Name.Text)
		if i < 0 {
			return Value{}, cql.Invalid("Unknown field '%s' in value of user defined type %s", f.Name.Text, t.Name)
		}
		var err error
		if parts[i], err = partValue(f.Value, t, i, receiver, env); err != nil {
			return Value{}, err
		}
	}
	return Value{Data: t.Join(parts)}, nil
}

// FieldIndex finds a UDT's field, or gives -1.
func (t *Type) FieldIndex(name string) int {
	for i, f := range t.Fields {
		if f == name {
			return i
		}
	}
	return -1
}
