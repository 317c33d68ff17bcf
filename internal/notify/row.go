package notify

import (
	"encoding/json"
	"errors"
	"fmt"

	"spoor/internal/kv"
)

// formatVersion is the version of every row that this package writes.
const formatVersion = 1

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("notify: encoding a row: %v", err)) // only types of this package, all of which encode
	}
	return b
}

// getRow reads a row; found is false when it is absent.
func getRow(store *kv.Store, key []byte, v any, version *int) (found bool, err error) {
	b, err := store.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, decodeRow(b, v, version)
}

func decodeRow(b []byte, v any, version *int) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decoding a row: %w", err)
	}
	if *version != formatVersion {
		return fmt.Errorf("a row has format version %d and this build knows version %d", *version, formatVersion)
	}
	return nil
}
