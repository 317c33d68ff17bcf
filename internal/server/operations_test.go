package server

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"spoor/internal/athena"
	"spoor/internal/awshttp/model"
	"spoor/internal/call"
	"spoor/internal/cloudtrail"
	"spoor/internal/iam"
	"spoor/internal/keyspaces"
	"spoor/internal/s3"
	"spoor/internal/sts"
)

var update = flag.Bool("update", false, "write docs/OPERATIONS.md anew")

// described are the services as they describe themselves; nothing is called.
func described() map[string]func(operation string) call.Coverage {
	out := map[string]func(string) call.Coverage{}
	for _, s := range []*call.Service{
		new(athena.Service).HTTP(), cloudtrail.Service(cloudtrail.Config{}), cloudtrail.DataService(cloudtrail.Config{}), new(keyspaces.Service).HTTP(), new(iam.Directory).Service(), sts.New(sts.Config{}),
	} {
		out[s.Name] = s.Coverage
	}
	objects := s3.Coverage()
	out["s3"] = func(operation string) call.Coverage {
		if c, ok := objects[operation]; ok {
			return c
		}
		return call.Coverage{State: call.Refusal, Note: "MethodNotAllowed"}
	}
	return out
}

const operationsFile = "../../docs/OPERATIONS.md"

const operationsHead = `# Operations

Every operation that AWS has of the services this server answers, and how far it is offered here:
**full**; **partial**, with what is missing; **refused**, with the error.
The operations are those of AWS's published models; the rest is said beside each
operation in the code, from which ` + "`make operations`" + ` writes this file.
`

// TestOperations compares docs/OPERATIONS.md with the code.
func TestOperations(t *testing.T) {
	t.Parallel()
	services := []struct{ name, title string }{
		{"athena", "Athena"}, {"cloudtrail", "CloudTrail"}, {"cloudtrail-data", "CloudTrail data"}, {"keyspaces", "Keyspaces"},
		{"s3", "S3"}, {"iam", "IAM"}, {"sts", "STS"}, {"glue", "Glue"},
	}
	how := described()
	var head, body bytes.Buffer
	head.WriteString(operationsHead + "\n| Service | Operations | Full | Partial | Refused |\n|---|---|---|---|---|\n")
	for _, s := range services {
		m, err := model.Load(s.name)
		if err != nil {
			t.Fatal(err)
		}
		count := map[call.State]int{}
		fmt.Fprintf(&body, "\n## %s\n\n| Operation | State | Missing, or error |\n|---|---|---|\n", s.title)
		for _, op := range m.Operations() {
			c := call.Coverage{State: call.Refusal, Note: "UnknownOperationException"} // no such service here
			if f := how[s.name]; f != nil {
				c = f(op)
			}
			if c.State != call.Full && c.Note == "" {
				t.Errorf("%s:%s is %s without saying why", s.name, op, c.State)
			}
			count[c.State]++
			fmt.Fprintf(&body, "| %s | %s | %s |\n", op, c.State, strings.ReplaceAll(c.Note, "|", "\\|"))
		}
		fmt.Fprintf(&head, "| %s | %d | %d | %d | %d |\n", s.title, len(m.Operations()), count[call.Full], count[call.Part], count[call.Refusal])
	}
	want := append(head.Bytes(), body.Bytes()...)
	if *update {
		if err := os.WriteFile(operationsFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(operationsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Error("docs/OPERATIONS.md is not what the code says; make operations writes it anew")
	}
}
