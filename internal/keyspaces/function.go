package keyspaces

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/types"
)

// env is what the expressions of one execution are evaluated in.
type env struct {
	types.Env
	svc *Service
	t   *Table // for token()
	at  time.Time
}

// overload is one form of a function on values.
type overload struct {
	args []*types.Type
	ret  *types.Type
	call func(e *env, args [][]byte) ([]byte, error) // see apply
}

// functions are CQL's functions on values, by name; those of the form typeAsBlob
// and blobAsType are found by blobFunction.
func functions(name string) []overload {
	ts, date, tuuid, bigint := types.Scalar(types.Timestamp), types.Scalar(types.Date), types.Scalar(types.Timeuuid), types.Scalar(types.Bigint)
	toMillis := func(f func(b []byte) int64) func(*env, [][]byte) ([]byte, error) {
		return func(_ *env, a [][]byte) ([]byte, error) { return types.AppendInt(nil, f(a[0]), 8), nil }
	}
	toDate := func(f func(b []byte) int64) func(*env, [][]byte) ([]byte, error) {
		return func(_ *env, a [][]byte) ([]byte, error) {
			days := floorDiv(f(a[0]), 86_400_000)
			return binary.BigEndian.AppendUint32(nil, uint32(days+1<<31)), nil
		}
	}
	dateMillis := func(b []byte) int64 { return (int64(binary.BigEndian.Uint32(b)) - 1<<31) * 86_400_000 }
	switch name {
	case "now", "currenttimeuuid":
		return []overload{{nil, tuuid, func(e *env, _ [][]byte) ([]byte, error) { return e.svc.timeUUID(), nil }}}
	case "uuid":
		return []overload{{nil, types.Scalar(types.Uuid), func(*env, [][]byte) ([]byte, error) {
			u := randomUUID()
			return u[:], nil
		}}}
	case "currenttimestamp":
		return []overload{{nil, ts, func(e *env, _ [][]byte) ([]byte, error) { return types.AppendInt(nil, e.at.UnixMilli(), 8), nil }}}
	case "currentdate":
		return []overload{{nil, date, func(e *env, _ [][]byte) ([]byte, error) {
			return binary.BigEndian.AppendUint32(nil, uint32(floorDiv(e.at.UnixMilli(), 86_400_000)+1<<31)), nil
		}}}
	case "totimestamp":
		return []overload{{[]*types.Type{tuuid}, ts, toMillis(uuidMillis)}, {[]*types.Type{date}, ts, toMillis(dateMillis)}}
	case "tounixtimestamp":
		return []overload{{[]*types.Type{tuuid}, bigint, toMillis(uuidMillis)}, {[]*types.Type{date}, bigint, toMillis(dateMillis)}, {[]*types.Type{ts}, bigint, toMillis(types.Int64)}}
	case "todate":
		return []overload{{[]*types.Type{tuuid}, date, toDate(uuidMillis)}, {[]*types.Type{ts}, date, toDate(types.Int64)}}
	case "dateof":
		return []overload{{[]*types.Type{tuuid}, ts, toMillis(uuidMillis)}}
	case "unixtimestampof":
		return []overload{{[]*types.Type{tuuid}, bigint, toMillis(uuidMillis)}}
	case "mintimeuuid", "maxtimeuuid":
		fill := byte(0x80)
		if name == "maxtimeuuid" {
			fill = 0x7F
		}
		return []overload{{[]*types.Type{ts}, tuuid, func(_ *env, a [][]byte) ([]byte, error) {
			ticks := uint64(types.Int64(a[0]))*10_000 + gregorian
			if fill == 0x7F {
				ticks += 9_999
			}
			u := timeUUID(ticks)
			for i := 8; i < 16; i++ {
				u[i] = fill
			}
			return u, nil
		}}}
	}
	return blobFunction(name)
}

// blobFunction finds textAsBlob, blobAsText and their like.
func blobFunction(name string) []overload {
	blob := types.Scalar(types.Blob)
	for k := types.Ascii; k <= types.Varint; k++ {
		t := types.Scalar(k)
		names := []string{k.String()}
		if k == types.Text {
			names = append(names, "varchar")
		}
		for _, n := range names {
			switch name {
			case n + "asblob":
				return []overload{{[]*types.Type{t}, blob, func(_ *env, a [][]byte) ([]byte, error) { return a[0], nil }}}
			case "blobas" + n:
				return []overload{{[]*types.Type{blob}, t, func(_ *env, a [][]byte) ([]byte, error) {
					if err := t.Validate(a[0]); err != nil {
						return nil, cql.Invalid("In call to function system.%s, value 0x%x is not a valid binary representation for type %s", name, a[0], t)
					}
					return a[0], nil
				}}}
			}
		}
	}
	return nil
}

// gregorian is the epoch in ticks of 100 ns since 1582-10-15.
const gregorian = 0x01B21DD213814000

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func uuidMillis(b []byte) int64 {
	ticks := uint64(b[6]&0x0F)<<56 | uint64(b[7])<<48 | uint64(b[4])<<40 | uint64(b[5])<<32 | uint64(binary.BigEndian.Uint32(b))
	return floorDiv(int64(ticks-gregorian), 10_000)
}

// timeUUID makes a version 1 UUID of a time; its last 8 bytes are zero.
func timeUUID(ticks uint64) []byte {
	u := make([]byte, 16)
	binary.BigEndian.PutUint32(u, uint32(ticks))
	binary.BigEndian.PutUint16(u[4:], uint16(ticks>>32))
	binary.BigEndian.PutUint16(u[6:], uint16(ticks>>48)&0x0FFF|0x1000)
	return u
}

// typeOf gives the type that an expression has by itself, or nil.
func typeOf(e ast.Expr) *types.Type {
	switch e := e.(type) {
	case *ast.TypeHint:
		if t, err := types.Resolve(e.Type, "", func(string, string) (*types.Type, bool) { return nil, false }); err == nil {
			return t
		}
	case *ast.FunctionCall:
		if strings.EqualFold(e.Name, "token") {
			return types.Scalar(types.Bigint)
		}
		if o := pick(e, nil); o != nil {
			return o.ret
		}
	}
	return nil
}

// pick chooses the overload of a call; argType gives an argument's type where
// that is known beyond typeOf. nil when none fits.
func pick(f *ast.FunctionCall, argType func(ast.Expr) *types.Type) *overload {
	if f.Keyspace != "" && f.Keyspace != "system" {
		return nil
	}
	list := functions(strings.ToLower(f.Name))
	for i := range list {
		if len(list[i].args) != len(f.Args) {
			continue
		}
		fits := true
		for j, a := range f.Args {
			t := typeOf(a)
			if t == nil && argType != nil {
				t = argType(a)
			}
			fits = fits && (t == nil || types.Assignable(list[i].args[j], t))
		}
		if fits {
			return &list[i]
		}
	}
	return nil
}

func unknownFunction(f *ast.FunctionCall) error {
	if functions(strings.ToLower(f.Name)) != nil {
		return cql.Invalid("Invalid call to function %s, none of its type signatures match", f.Name)
	}
	return cql.Invalid("Unknown function '%s'", f.Name)
}

// Call evaluates a function whose arguments are constants, markers and calls.
func (e *env) Call(f *ast.FunctionCall, want *types.Type) ([]byte, error) {
	if strings.EqualFold(f.Name, "token") {
		return e.token(f, want)
	}
	if strings.EqualFold(f.Name, "fromjson") && len(f.Args) == 1 {
		v, err := types.Coerce(f.Args[0], types.Scalar(types.Text), "json", &e.Env)
		if err != nil || v.Data == nil {
			return nil, err
		}
		b, err := want.FromJSON(v.Data)
		if err != nil {
			return nil, cql.Invalid("%s", err.Error())
		}
		return b, nil
	}
	o := pick(f, nil)
	if o == nil {
		return nil, unknownFunction(f)
	}
	if !types.Assignable(want, o.ret) {
		return nil, cql.Invalid("Type error: cannot assign result of function system.%s (type %s) to a value of type %s", strings.ToLower(f.Name), o.ret, want)
	}
	args := make([][]byte, len(f.Args))
	for i, a := range f.Args {
		v, err := types.Coerce(a, o.args[i], "arg"+string(rune('0'+i)), &e.Env)
		if err != nil {
			return nil, err
		}
		args[i] = v.Data
	}
	return o.apply(e, args)
}

// apply calls the function unless an argument is null, or is the empty value
// that Cassandra allows for types of a fixed size: both give null.
func (o *overload) apply(e *env, args [][]byte) ([]byte, error) {
	for i, a := range args {
		if a == nil || len(a) == 0 && !o.args[i].IsText() && o.args[i].Kind != types.Blob && o.ret.Kind != types.Blob {
			return nil, nil
		}
	}
	return o.call(e, args)
}

// token evaluates token(values): the token of the partition key they make.
func (e *env) token(f *ast.FunctionCall, want *types.Type) ([]byte, error) {
	if e.t == nil || len(f.Args) != len(e.t.Partition) {
		return nil, cql.Invalid("Invalid number of arguments in call to function system.token")
	}
	if want.Kind != types.Bigint {
		return nil, cql.Invalid("Type error: cannot assign result of function system.token (type bigint) to a value of type %s", want)
	}
	parts := make([][]byte, len(f.Args))
	for i, a := range f.Args {
		v, err := types.Coerce(a, e.t.Partition[i].Type, e.t.Partition[i].Name, &e.Env)
		if err != nil {
			return nil, err
		}
		if v.Data == nil {
			return nil, cql.Invalid("Invalid null value in call to function system.token")
		}
		parts[i] = v.Data
	}
	return types.AppendInt(nil, types.Token(joinKey(nil, parts)), 8), nil
}

// joinKey appends a partition key's bytes.
func joinKey(dst []byte, parts [][]byte) []byte {
	if len(parts) == 1 {
		return append(dst, parts[0]...)
	}
	for _, p := range parts {
		dst = types.AppendKeyComponent(dst, p)
	}
	return dst
}

// castTo converts a value as CAST does (CQL, "Cast" functions).
func castTo(from, to *types.Type, b []byte) ([]byte, error) {
	if b == nil || from.Kind == to.Kind {
		return b, nil
	}
	if len(b) == 0 && !from.IsText() {
		return nil, nil
	}
	switch {
	case to.IsText():
		return from.AppendText(nil, b), nil
	case from.IsNumber() && to.IsNumber():
		return castNumber(from, to, b)
	}
	for _, name := range []string{"totimestamp", "todate"} {
		for _, o := range functions(name) {
			if o.args[0].Kind == from.Kind && o.ret.Kind == to.Kind {
				return o.call(nil, [][]byte{b})
			}
		}
	}
	return nil, cql.Invalid("Type %s cannot be cast to %s", from, to)
}

func canCast(from, to *types.Type) bool {
	if from.Kind == to.Kind || to.IsText() && len(from.Args) == 0 && from.Kind != types.Blob || from.IsNumber() && to.IsNumber() {
		return true
	}
	times := []types.Kind{types.Timestamp, types.Date}
	return slices.Contains(times, to.Kind) && (slices.Contains(times, from.Kind) || from.Kind == types.Timeuuid)
}
