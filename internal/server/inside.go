package server

import (
	"spoor/internal/aws"
	"spoor/internal/call"
)

// Path is the way of the server's calls, for a benchmark that makes more of
// them than a client on the same machine could send.
func (s *Server) Path() *call.Path { return s.path }

// Caller is who an access key belongs to, as the listeners find it.
func (s *Server) Caller(accessKeyID string) (*aws.Caller, error) {
	cred, err := s.directory.Credential(accessKeyID, "")
	return cred.Caller, err
}
