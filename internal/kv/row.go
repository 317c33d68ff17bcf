package kv

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MustJSON encodes a value whose type holds only what JSON can, as rows do. It
// panics where that is not so, which any test of the type finds.
func MustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("kv: encoding a %T: %v", v, err))
	}
	return b
}

// DecodeRow reads what MustJSON made into v, whose format version is then in
// version. A row of another version than the one that the caller knows is an
// error: a build that does not know a format must not guess at it.
func DecodeRow(b []byte, v any, version *int, knows int) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("a row is damaged: %w", err)
	}
	if *version != knows {
		return fmt.Errorf("a row has format version %d; this program knows version %d", *version, knows)
	}
	return nil
}

// GetRow is DecodeRow of a key's row; found is false where there is none.
func (s *Store) GetRow(key []byte, v any, version *int, knows int) (found bool, err error) {
	b, err := s.Get(key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, DecodeRow(b, v, version, knows)
}
