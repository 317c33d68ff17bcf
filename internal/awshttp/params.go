package awshttp

import (
	"reflect"
	"time"

	"spoor/internal/record"
)

// secretMembers are the members that no record shows, whatever the operation:
// the second line of defence behind Operation.Omit. Names are the SDK's.
var secretMembers = map[string]bool{
	"SecretAccessKey": true, "SessionToken": true, "Password": true,
	"NewPassword": true, "OldPassword": true, "ServicePassword": true,
	"WebIdentityToken": true, "SAMLAssertion": true, "PrivateKey": true,
	"Base32StringSeed": true, "QRCodePNG": true, "ServiceCredentialSecret": true,
	"TokenCode": true, "AuthToken": true,
}

// hiddenMembers are secrets that AWS leaves out rather than masks.
var droppedMembers = map[string]bool{"SecretAccessKey": true, "SessionToken": true, "ServicePassword": true, "ServiceCredentialSecret": true,
	"WebIdentityToken": true, "Password": true, "OldPassword": true, "NewPassword": true}

// recordObject renders a typed input or output as a record shows it: lower
// camel case, absent members left out, secrets masked. A structure without
// members is nil, which the record writes as null.
func recordObject(v any, omit []string) []byte {
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer || rv.Kind() == reflect.Interface {
		if rv.IsNil() {
			return nil
		}
		rv = rv.Elem()
	}
	if rv.Kind() != reflect.Struct {
		return nil
	}
	w := recordWriter{omit: omit}
	b := w.structure(nil, rv, true)
	if string(b) == "{}" {
		return nil
	}
	return b
}

type recordWriter struct{ omit []string }

func (w recordWriter) omitted(name string) bool {
	for _, o := range w.omit {
		if o == name {
			return true
		}
	}
	return false
}

func (w recordWriter) structure(b []byte, v reflect.Value, top bool) []byte {
	b = append(b, '{')
	first := true
	for _, f := range fieldsOf(v.Type()) {
		x := v.Field(f.index)
		if empty(x) || droppedMembers[f.name] {
			continue
		}
		b = appendKey(b, lowerFirst(f.name), &first)
		switch {
		case top && w.omitted(f.name):
			b = record.AppendString(b, record.Omitted)
		case secretMembers[f.name]:
			b = record.AppendString(b, record.ReasonHidden)
		default:
			b = w.value(b, x)
		}
	}
	return append(b, '}')
}

func (w recordWriter) value(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, "null"...)
		}
		return w.value(b, v.Elem())
	case reflect.Struct:
		if v.Type() == timeType {
			return record.AppendString(b, v.Interface().(time.Time).UTC().Format(record.ParameterTime))
		}
		return w.structure(b, v, false)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return appendBase64(b, v.Bytes())
		}
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = w.value(b, v.Index(i))
		}
		return append(b, ']')
	case reflect.Map:
		b = append(b, '{')
		first := true
		for _, k := range sortedKeys(v) {
			b = appendKey(b, k.String(), &first)
			b = w.value(b, v.MapIndex(k))
		}
		return append(b, '}')
	}
	return appendScalar(b, v)
}
