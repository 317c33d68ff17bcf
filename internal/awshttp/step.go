package awshttp

import (
	"context"

	"spoor/internal/call"
	"spoor/internal/record"
)

// step is one HTTP call on call.Path.
type step struct {
	svc *service
	op  *call.Operation
	in  any
	out any
}

var _ call.Step = (*step)(nil)

func (s *step) Permissions(c *call.Call, dst []call.Permission) ([]call.Permission, error) {
	if s.op.Refused != nil {
		return append(dst, call.Permission{Action: s.svc.signingName() + ":" + s.op.Name, Resource: "*"}), nil
	}
	if s.op.Permissions == nil {
		return dst, nil
	}
	perms, err := s.op.Permissions(c, s.in)
	return append(dst, perms...), err
}

func (s *step) Handle(ctx context.Context, c *call.Call) error {
	if s.op.Refused != nil {
		return s.op.Refused()
	}
	out, err := s.op.Handle(ctx, c, s.in)
	s.out = out
	return err
}

func (s *step) Events() int { return 1 }

func (s *step) Category(int) record.Category {
	if s.op.Data {
		return record.Data
	}
	return record.Management
}

func (s *step) External() bool { return s.op.External }

func (s *step) Describe(c *call.Call, _ int, err error, r *record.Record) {
	describeService(s.svc, s.op.Name, r)
	r.ReadOnly = s.op.ReadOnly
	if s.in != nil {
		r.RequestParameters = recordObject(s.in, s.op.Omit)
	}
	out := s.out
	if err != nil {
		out = nil
	}
	if out != nil && !s.op.ReadOnly && !s.op.NoResponse {
		r.ResponseElements = recordObject(out, s.op.Omit)
	}
	if s.op.Describe != nil {
		s.op.Describe(c, s.in, out, err, r)
	}
}
