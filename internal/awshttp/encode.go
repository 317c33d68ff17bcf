package awshttp

import (
	"encoding/base64"
	"encoding/xml"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"spoor/internal/record"
)

// field is one member of an SDK structure.
type field struct {
	index int
	name  string // the SDK's name, which is AWS's with the first letter upper-cased
}

var structFields sync.Map // reflect.Type → []field

// fieldsOf lists a structure's members; it is a cache of reflection, no state.
func fieldsOf(t reflect.Type) []field {
	if f, ok := structFields.Load(t); ok {
		return f.([]field)
	}
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" {
			continue
		}
		name := f.Name
		if wire := f.Tag.Get("wire"); wire != "" {
			name = wire // a member that AWS spells unlike the rest of its service
		}
		out = append(out, field{i, name})
	}
	structFields.Store(t, out)
	return out
}

// empty reports whether a member is absent: a nil pointer, list or map, or the
// zero value of an enum. Numbers and booleans that are no pointers always have
// a value.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return v.IsNil()
	case reflect.String:
		return v.Len() == 0
	}
	return false
}

// jsonWriter writes SDK outputs in the AWS JSON protocols.
type jsonWriter struct{ lowerCamel bool }

func (w jsonWriter) append(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, "null"...)
		}
		return w.append(b, v.Elem())
	case reflect.Struct:
		if v.Type() == timeType {
			return appendEpoch(b, v.Interface().(time.Time))
		}
		b = append(b, '{')
		first := true
		for _, f := range fieldsOf(v.Type()) {
			x := v.Field(f.index)
			if empty(x) {
				continue
			}
			name := f.name
			if w.lowerCamel {
				name = lowerFirst(name)
			}
			b = appendKey(b, name, &first)
			b = w.append(b, x)
		}
		return append(b, '}')
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return appendBase64(b, v.Bytes())
		}
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = w.append(b, v.Index(i))
		}
		return append(b, ']')
	case reflect.Map:
		b = append(b, '{')
		first := true
		for _, k := range sortedKeys(v) {
			b = appendKey(b, k.String(), &first)
			b = w.append(b, v.MapIndex(k))
		}
		return append(b, '}')
	}
	return appendScalar(b, v)
}

func appendScalar(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.String:
		return record.AppendString(b, v.String())
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Float32, reflect.Float64:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return record.AppendString(b, strconv.FormatFloat(f, 'g', -1, 64))
		}
		return strconv.AppendFloat(b, v.Float(), 'g', -1, v.Type().Bits())
	default:
		return strconv.AppendInt(b, v.Int(), 10)
	}
}

func appendBase64(b, data []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"')
}

func appendKey(b []byte, name string, first *bool) []byte {
	if !*first {
		b = append(b, ',')
	}
	*first = false
	return append(record.AppendString(b, name), ':')
}

// appendEpoch writes a time as AWS JSON does: seconds, with milliseconds where
// there are any.
func appendEpoch(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	if ms%1000 == 0 {
		return strconv.AppendInt(b, ms/1000, 10)
	}
	return strconv.AppendFloat(b, float64(ms)/1e3, 'f', 3, 64)
}

func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	return keys
}

// appendXML writes an SDK output's members in the query protocol's XML.
func appendXML(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			appendXML(b, v.Elem())
		}
		return
	case reflect.Struct:
		if v.Type() == timeType {
			b.WriteString(v.Interface().(time.Time).UTC().Format("2006-01-02T15:04:05Z"))
			return
		}
		for _, f := range fieldsOf(v.Type()) {
			if x := v.Field(f.index); !empty(x) {
				element(b, f.name, func() { appendXML(b, x) })
			}
		}
		return
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b.WriteString(base64.StdEncoding.EncodeToString(v.Bytes()))
			return
		}
		for i := range v.Len() {
			element(b, "member", func() { appendXML(b, v.Index(i)) })
		}
		return
	case reflect.Map:
		for _, k := range sortedKeys(v) {
			element(b, "entry", func() {
				element(b, "key", func() { escapeXML(b, k.String()) })
				element(b, "value", func() { appendXML(b, v.MapIndex(k)) })
			})
		}
		return
	case reflect.String:
		escapeXML(b, v.String())
		return
	}
	b.Write(appendScalar(nil, v))
}

func element(b *strings.Builder, name string, content func()) {
	b.WriteString("<" + name + ">")
	content()
	b.WriteString("</" + name + ">")
}

func escapeXML(b *strings.Builder, s string) {
	// EscapeText fails only when its writer does, and a strings.Builder never.
	_ = xml.EscapeText(b, []byte(s))
}
