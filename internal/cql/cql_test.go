package cql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"spoor/internal/cql"
)

func TestAsError(t *testing.T) {
	t.Parallel()
	cause := errors.New("secret: disk on fire")
	if e := cql.AsError(nil); e != nil {
		t.Errorf("no error is %v", e)
	}
	e := cql.AsError(cause)
	if e.Code != cql.CodeServer || strings.Contains(e.Message, "secret") || !errors.Is(e, cause) {
		t.Errorf("an unknown error is %+v", e)
	}
	if got := cql.AsError(fmt.Errorf("executing: %w", cql.Invalid("no %s", "table"))); got.Code != cql.CodeInvalid || got.Message != "no table" {
		t.Errorf("a wrapped error is %+v", got)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]error{
		"BadCredentials: Provided username alice and/or password are incorrect": cql.BadCredentials("alice"),
		`AlreadyExists: Cannot add existing keyspace "ks"`:                      cql.AlreadyExists("ks", ""),
		`AlreadyExists: Cannot add already existing table "t" to keyspace "ks"`: cql.AlreadyExists("ks", "t"),
		"Unavailable: Cannot achieve consistency level LOCAL_QUORUM":            cql.Unavailable(cql.LocalQuorum, 2, 1),
		"0x9999: odd": cql.Errorf(0x9999, "odd"),
	} {
		if got.Error() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestConsistency(t *testing.T) {
	t.Parallel()
	for c := cql.Any; c <= cql.LocalOne; c++ {
		if !c.Valid() || c.String() == "" {
			t.Errorf("level %d is %q", uint16(c), c)
		}
	}
	if c := cql.Consistency(0x0B); c.Valid() || c.String() != "UNKNOWN(11)" {
		t.Errorf("level 11 is %q", c)
	}
	if cql.One.IsSerial() || !cql.LocalSerial.IsSerial() {
		t.Error("the serial levels are wrong")
	}
}
