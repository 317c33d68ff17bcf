package call

import (
	"errors"

	"spoor/internal/aws"
)

// State is how far an operation of AWS is offered.
type State string

const (
	Full    State = "full"
	Part    State = "partial"
	Refusal State = "refused"
)

// Coverage is how far one operation is offered. Note says what is missing of a
// partial one and is the error's code for a refused one.
type Coverage struct {
	State State
	Note  string
}

// Coverage says how far an operation of AWS's service is offered.
func (s *Service) Coverage(operation string) Coverage {
	for i := range s.Operations {
		o := &s.Operations[i]
		switch {
		case o.Name != operation:
		case o.Refused != nil:
			return refusal(o.Refused())
		case o.RefusedCode != "":
			return Coverage{Refusal, o.RefusedCode}
		case o.Partial != "":
			return Coverage{Part, o.Partial}
		default:
			return Coverage{State: Full}
		}
	}
	if s.RefusedError != nil {
		return refusal(s.RefusedError(operation))
	}
	return Coverage{Refusal, "UnsupportedOperationException"}
}

func refusal(err error) Coverage {
	var e *aws.Error
	if !errors.As(err, &e) {
		return Coverage{Refusal, err.Error()}
	}
	return Coverage{Refusal, e.Code}
}
