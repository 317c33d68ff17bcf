package policy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"spoor/internal/policy"
)

// The decisions lie in testdata/decisions, one file a subject. A file is a list
// of scenarios:
//
//	--- what the scenario shows
//	let NAME = text                      $NAME stands for it in the cases below
//	identity: | boundary: | session: | resource of ACCOUNT: | trust of ACCOUNT:
//	{ the document, to an empty line }
//	WHO  ACTION  RESOURCE  [{"context key": "value" or ["values"]}]  -> OUTCOME [by SID]
//
// identity and session may come several times; "no session policies" is the
// empty list. WHO is user:NAME, role:NAME:SESSION, fed:USER:NAME, root,
// anonymous, service:NAME or idp:NAME, of account 111111111111 or of the one
// after an @. OUTCOME is
//
//	allow identity|resource|root         who allows
//	deny TYPE                            an explicit deny in a policy of the type
//	none TYPE                            no policy of the type allows
//
// Every denial's message is checked against the forms that AWS documents; a
// line "message TEXT" below a case gives it in full.
var caseLine = regexp.MustCompile(`^(\S+)\s+(\S+)\s+(\S+)\s+(\{.*\}\s+)?->\s+(\S+ \S+)(?: by (\S+))?$`)

const home = "111111111111"

type scenario struct {
	file, title string
	docs        naivePolicies
	trust       bool
	in          policy.Input
	lets        map[string]string
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/decisions/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: %v", files, err)
	}
	seen, services, outcomes := map[string]string{}, map[string]int{}, map[policy.Reason]int{}
	for _, f := range files {
		for _, c := range readDecisions(t, f) {
			if first, ok := seen[c.key()]; ok {
				t.Errorf("%s repeats %s", c.at, first)
			}
			seen[c.key()] = c.at
			service, _, _ := strings.Cut(strings.ToLower(c.request.Action), ":")
			services[service]++
			outcomes[c.check(t).Reason]++
		}
	}
	if len(seen) < 300 {
		t.Errorf("there are %d decisions", len(seen))
	}
	for _, s := range []string{"athena", "cassandra", "cloudtrail", "s3", "iam", "sts", "glue"} {
		if services[s] < 10 {
			t.Errorf("there are %d decisions of %s", services[s], s)
		}
	}
	for r := policy.AllowedByIdentity; r <= policy.NoResourceAllow; r++ {
		if outcomes[r] < 3 {
			t.Errorf("there are %d decisions that are %v", outcomes[r], r)
		}
	}
	t.Logf("%d decisions: %v", len(seen), services)
}

type decision struct {
	*scenario
	at      string // file and line
	who     policy.Principal
	request naiveRequest
	want    policy.Reason
	sid     string
	message string
}

func (c *decision) key() string {
	return fmt.Sprint(c.docs, c.trust, c.who, c.request.Action, c.request.Resource, c.request.Context)
}

func readDecisions(t *testing.T, file string) (out []*decision) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	s := &scenario{}
	// A case uses the policies above it; the next scenario starts without any.
	for i := 0; i < len(lines); i++ {
		at := fmt.Sprintf("%s:%d", filepath.Base(file), i+1)
		line := strings.TrimSpace(lines[i])
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "--- "):
			s = &scenario{file: file, title: line[4:], lets: map[string]string{}}
		case strings.HasPrefix(line, "let "):
			name, value, _ := strings.Cut(line[4:], " = ")
			s.lets[name] = s.expand(value)
		case line == "no session policies":
			s.docs.Session, s.in.Session = []string{}, []*policy.Policy{}
		case strings.HasSuffix(line, ":"):
			from := i + 1
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != ""; i++ {
			}
			if err := s.add(strings.TrimSuffix(line, ":"), strings.Join(lines[from:i], "\n")); err != nil {
				t.Fatalf("%s: %v", at, err)
			}
		case strings.HasPrefix(line, "message "):
			out[len(out)-1].message = s.expand(line[len("message "):])
		default:
			c, err := s.parseCase(line)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			c.at = at
			out = append(out, c)
		}
	}
	return out
}

func (s *scenario) expand(text string) string {
	return regexp.MustCompile(`\$\w+`).ReplaceAllStringFunc(text, func(name string) string {
		if v, ok := s.lets[name[1:]]; ok {
			return v
		}
		return name
	})
}

func (s *scenario) add(what, doc string) error {
	kind, owner, _ := strings.Cut(what, " of ")
	k := policy.Identity
	if kind == "resource" || kind == "trust" {
		k = policy.Resource
	}
	p, err := policy.Parse(doc, k)
	if err != nil {
		return err
	}
	switch kind {
	case "identity":
		s.docs.Identity, s.in.Identity = append(s.docs.Identity, doc), append(s.in.Identity, p)
	case "boundary":
		s.docs.Boundary, s.in.Boundary = doc, p
	case "session":
		s.docs.Session, s.in.Session = append(s.docs.Session, doc), append(s.in.Session, p)
	case "resource", "trust":
		s.docs.Resource, s.docs.Owner, s.in.Resource, s.in.ResourceAccount = doc, owner, p, owner
		s.trust, s.in.Trust = kind == "trust", kind == "trust"
	default:
		return fmt.Errorf("unknown policy %q", what)
	}
	return nil
}

var outcomeNames = map[string]policy.Reason{
	"allow identity": policy.AllowedByIdentity, "allow resource": policy.AllowedByResource, "allow root": policy.AllowedAsRoot,
	"deny identity": policy.DeniedByIdentity, "deny boundary": policy.DeniedByBoundary, "deny session": policy.DeniedBySession, "deny resource": policy.DeniedByResource,
	"none identity": policy.NoIdentityAllow, "none boundary": policy.NoBoundaryAllow, "none session": policy.NoSessionAllow, "none resource": policy.NoResourceAllow,
}

func (s *scenario) parseCase(line string) (*decision, error) {
	m := caseLine.FindStringSubmatch(s.expand(line))
	if m == nil {
		return nil, fmt.Errorf("no case: %s", line)
	}
	want, ok := outcomeNames[m[5]]
	if !ok {
		return nil, fmt.Errorf("unknown outcome %q", m[5])
	}
	copied := *s
	c := &decision{scenario: &copied, want: want, sid: m[6]}
	var given map[string]any
	if m[4] != "" {
		if err := json.Unmarshal([]byte(m[4]), &given); err != nil {
			return nil, err
		}
	}
	ctx := map[string][]string{}
	for k, v := range given {
		ctx[strings.ToLower(k)] = naiveList(v)
	}
	name, account, foreign := strings.Cut(m[1], "@")
	if !foreign {
		account = home
	}
	if c.who, ok = caller(name, account); !ok {
		return nil, fmt.Errorf("unknown caller %q", m[1])
	}
	c.request = naiveRequest{ARN: c.who.ARN, Account: c.who.AccountID, Role: c.who.RoleARN, Service: c.who.Service, Root: c.who.Root, Anonymous: c.who.Anonymous,
		Action: m[2], Resource: m[3], Context: ctx}
	return c, nil
}

func caller(name, account string) (policy.Principal, bool) {
	part := strings.SplitN(name, ":", 3)
	if kind, rest, ok := strings.Cut(name, ":"); ok && kind == "idp" {
		part = []string{kind, rest} // an ARN has colons itself
	}
	iam, sts := "arn:aws:iam::"+account+":", "arn:aws:sts::"+account+":"
	switch {
	case name == "root":
		return policy.Principal{ARN: iam + "root", AccountID: account, Root: true}, true
	case name == "anonymous":
		return policy.Principal{AccountID: "anonymous", Anonymous: true}, true
	case len(part) == 2 && part[0] == "user":
		return policy.Principal{ARN: iam + "user/" + part[1], AccountID: account}, true
	case len(part) == 3 && part[0] == "role":
		return policy.Principal{ARN: sts + "assumed-role/" + part[1] + "/" + part[2], AccountID: account, RoleARN: iam + "role/" + part[1]}, true
	case len(part) == 3 && part[0] == "fed":
		return policy.Principal{ARN: sts + "federated-user/" + part[2], AccountID: account, RoleARN: iam + "user/" + part[1]}, true
	case len(part) == 2 && part[0] == "service":
		return policy.Principal{Service: part[1]}, true
	case len(part) == 2 && part[0] == "idp":
		return policy.Principal{Federated: part[1]}, true
	}
	return policy.Principal{}, false
}

func (c *decision) check(t *testing.T) policy.Decision {
	t.Helper()
	r := policy.Request{Principal: c.who, Action: c.request.Action, Resource: c.request.Resource, Context: policy.Values(c.request.Context)}
	d := policy.Evaluate(&r, &c.in)
	switch {
	case d.Reason != c.want || d.Allowed != (c.want <= policy.AllowedAsRoot):
		t.Errorf("%s (%s): %v, want %v", c.at, c.title, d.Reason, c.want)
	case c.sid != "" && d.Sid() != c.sid:
		t.Errorf("%s (%s): decided by %q, want %q", c.at, c.title, d.Sid(), c.sid)
	}
	if !d.Allowed {
		got, want := d.Message(c.who.ARN, r.Action, r.Resource), c.documented()
		if got != want || c.message != "" && got != c.message {
			t.Errorf("%s (%s): the message is\n%s\nwant\n%s\n%s", c.at, c.title, got, want, c.message)
		}
	}
	// The rules of trust policies and of identity providers are not the naive
	// evaluator's.
	if !c.trust && c.who.Federated == "" {
		if fault := disagreement(d, newNaive().evaluate(c.request, c.docs)); fault != "" {
			t.Errorf("%s (%s): %s", c.at, c.title, fault)
		}
	}
	return d
}

// documented is the message as the IAM user guide has it for each reason.
func (c *decision) documented() string {
	who, action := c.who.ARN, c.request.Action
	if who == "" {
		who = "anonymous"
	}
	on := " on resource: " + c.request.Resource
	switch service, _, _ := strings.Cut(action, ":"); {
	case action == "s3:ListAllMyBuckets", c.request.Resource == "*" && service != "iam" && service != "sts":
		on = ""
	case service == "s3":
		on = ` on resource: "` + c.request.Resource + `"`
	}
	why := map[policy.Reason]string{
		policy.DeniedByIdentity: " with an explicit deny in an identity-based policy",
		policy.DeniedByBoundary: " with an explicit deny in a permissions boundary",
		policy.DeniedBySession:  " with an explicit deny in a session policy",
		policy.DeniedByResource: " with an explicit deny in a resource-based policy",
		policy.NoIdentityAllow:  " because no identity-based policy allows the " + action + " action",
		policy.NoBoundaryAllow:  " because no permissions boundary allows the " + action + " action",
		policy.NoSessionAllow:   " because no session policy allows the " + action + " action",
		policy.NoResourceAllow:  " because no resource-based policy allows the " + action + " action",
	}[c.want]
	if c.trust && c.want == policy.DeniedByResource {
		on, why = "", " with an explicit deny in the role trust policy"
	}
	if c.trust && c.want == policy.NoResourceAllow {
		on, why = "", " because no role trust policy allows the "+action+" action"
	}
	return "User: " + who + " is not authorized to perform: " + action + on + why
}
