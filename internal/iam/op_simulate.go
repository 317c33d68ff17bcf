package iam

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/policy"
)

// simulateOperations say what policies would decide, without doing it (IAM user
// guide, "IAM policy testing with the IAM policy simulator").
func (s *api) simulateOperations() []call.Operation {
	return []call.Operation{
		op("SimulateCustomPolicy", anything, s.simulateCustom, call.ReadOnly),
		op("SimulatePrincipalPolicy", func(_ *call.Call, in *sdk.SimulatePrincipalPolicyInput) target {
			return target{arn: str(in.PolicySourceArn)}
		}, s.simulatePrincipal, call.ReadOnly),
	}
}

// Types of a matched statement's policy. The model's enum has other names; these
// are the ones that AWS sends.
const (
	fromIdentity types.PolicySourceType = "IAM Policy"
	fromBoundary types.PolicySourceType = "Permissions Boundary Policy"
	fromResource types.PolicySourceType = "Resource Policy"
)

// source is a policy of a simulation and how results name it.
type source struct {
	policy *policy.Policy
	id     string
	kind   types.PolicySourceType
}

// simulation is a question of the simulator, read.
type simulation struct {
	sources  []source
	boundary *policy.Policy
	resource *policy.Policy
	caller   policy.Principal
	// owner is the account of resources whose ARN names none. known is false
	// when no caller was given: then every resource is of the caller's account.
	owner string
	known bool

	actions, resources []string
	ctx                policy.Values
}

// parsed reads a policy that a caller gave. Each has its own compiled form, so
// that two of the same text are told apart in the results.
func (q *simulation) parsed(text, id string, kind types.PolicySourceType, as policy.Kind) (*policy.Policy, error) {
	p, err := policy.Parse(text, as)
	if err != nil {
		return nil, invalidInput("Invalid policy: %s", trimMalformed(err))
	}
	q.sources = append(q.sources, source{p, id, kind})
	return p, nil
}

// given are the parameters that both operations have.
type given struct {
	policies, boundaries []string
	resource             *string
	owner, caller        *string
	actions, resources   []string
	entries              []types.ContextEntry
}

func (q *simulation) read(g given) error {
	for i, text := range g.policies {
		if _, err := q.parsed(text, fmt.Sprintf("PolicyInputList.%d", i+1), fromIdentity, policy.Identity); err != nil {
			return err
		}
	}
	if len(g.boundaries) > 1 {
		return invalidInput("You can specify only one permissions boundary policy.")
	}
	for _, text := range g.boundaries {
		p, err := q.parsed(text, "PermissionsBoundaryPolicyInputList.1", fromBoundary, policy.Identity)
		if err != nil {
			return err
		}
		q.boundary = p
	}
	if str(g.caller) != "" {
		a, err := aws.ParseARN(*g.caller)
		if err != nil || a.Service != "iam" || !strings.HasPrefix(a.Resource, "user/") {
			return invalidInput("Invalid caller ARN: %s. It must be the ARN of an IAM user.", *g.caller)
		}
		if *g.caller != q.caller.ARN {
			clear(q.ctx) // of the entity whose policies these are
		}
		q.caller, q.known = policy.Principal{ARN: *g.caller, AccountID: a.Account}, true
	}
	q.owner = q.caller.AccountID
	if o := str(g.owner); o != "" {
		if a, err := aws.ParseARN(o); err == nil && a.Resource == "root" {
			o = a.Account
		}
		if len(o) != 12 || strings.Trim(o, "0123456789") != "" {
			return invalidInput("Invalid resource owner: %s", o)
		}
		q.owner = o
	}
	if str(g.resource) != "" {
		if !q.known {
			return invalidInput("CallerArn is required when a resource policy is included in the simulation.")
		}
		p, err := q.parsed(*g.resource, "ResourcePolicy", fromResource, policy.Resource)
		if err != nil {
			return err
		}
		q.resource = p
	}
	if err := q.ask(g.actions, g.resources); err != nil {
		return err
	}
	return q.entries(g.entries)
}

func (q *simulation) ask(actions, resources []string) error {
	for _, a := range actions {
		service, name, ok := strings.Cut(a, ":")
		if !ok || service == "" || name == "" || strings.ContainsAny(a, "*? ") {
			return invalidInput("Invalid action: %s", a)
		}
	}
	for _, r := range resources {
		if _, err := aws.ParseARN(r); err != nil && r != "*" {
			return invalidInput("Invalid resource ARN: %s", r)
		}
	}
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	q.actions, q.resources = actions, resources
	return nil
}

// entries adds the context keys that were given. They win over what is known of
// the caller.
func (q *simulation) entries(list []types.ContextEntry) error {
	if q.known {
		q.know("aws:principalarn", q.caller.ARN)
		q.know("aws:principalaccount", q.caller.AccountID)
		if _, user, ok := strings.Cut(q.caller.ARN, ":user/"); ok {
			q.know("aws:username", user[strings.LastIndexByte(user, '/')+1:])
			q.know("aws:principaltype", "User")
		}
	}
	for _, e := range list {
		values := e.ContextKeyValues
		if str(e.ContextKeyName) == "" || !strings.Contains(*e.ContextKeyName, ":") {
			return invalidInput("Invalid context key name: %s", str(e.ContextKeyName))
		}
		if len(values) > 1 && !strings.HasSuffix(string(e.ContextKeyType), "List") {
			return invalidInput("Context key %s of type %s has several values.", *e.ContextKeyName, e.ContextKeyType)
		}
		q.ctx[strings.ToLower(*e.ContextKeyName)] = values
	}
	return nil
}

func (q *simulation) know(key, value string) {
	if _, ok := q.ctx[key]; !ok && value != "" {
		q.ctx[key] = []string{value}
	}
}

func (s *api) simulateCustom(c *call.Call, in *sdk.SimulateCustomPolicyInput) (*sdk.SimulateCustomPolicyOutput, error) {
	q := simulation{ctx: policy.Values{}, caller: policy.Principal{AccountID: c.AccountID}}
	if err := q.read(given{in.PolicyInputList, in.PermissionsBoundaryPolicyInputList, in.ResourcePolicy, in.ResourceOwner, in.CallerArn,
		in.ActionNames, in.ResourceArns, in.ContextEntries}); err != nil {
		return nil, err
	}
	results, next, err := q.results(in.Marker, in.MaxItems)
	return &sdk.SimulateCustomPolicyOutput{EvaluationResults: results, IsTruncated: next != nil, Marker: next}, err
}

func (s *api) simulatePrincipal(c *call.Call, in *sdk.SimulatePrincipalPolicyInput) (*sdk.SimulatePrincipalPolicyOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	q := simulation{ctx: policy.Values{}, caller: policy.Principal{ARN: str(in.PolicySourceArn), AccountID: c.AccountID}}
	if err := s.entity(a, &q); err != nil {
		return nil, err
	}
	boundary := q.boundary
	if err := q.read(given{in.PolicyInputList, in.PermissionsBoundaryPolicyInputList, in.ResourcePolicy, in.ResourceOwner, in.CallerArn,
		in.ActionNames, in.ResourceArns, in.ContextEntries}); err != nil {
		return nil, err
	}
	if q.boundary != boundary {
		// The boundary that was given stands in for the entity's own.
		q.sources = slices.DeleteFunc(q.sources, func(x source) bool { return x.policy == boundary })
	}
	results, next, err := q.results(in.Marker, in.MaxItems)
	return &sdk.SimulatePrincipalPolicyOutput{EvaluationResults: results, IsTruncated: next != nil, Marker: next}, err
}

// entity adds the policies of the user, group or role that the simulation is
// about, and what its ARN tells about a caller.
func (s *api) entity(a *account, q *simulation) error {
	arn, err := aws.ParseARN(q.caller.ARN)
	if err != nil || arn.Service != "iam" || arn.Account != a.settings.ID {
		return invalidInput("Invalid Entity Arn: %s does not clearly define entity type and name.", q.caller.ARN)
	}
	kind, path, _ := strings.Cut(arn.Resource, "/")
	name := path[strings.LastIndexByte(path, '/')+1:]
	boundary := ""
	switch kind {
	case "user":
		u := a.users[fold(name)]
		if u == nil || a.userARN(u) != q.caller.ARN {
			return noUser(name)
		}
		q.add(s.d, a, &u.grants, "user_"+u.Name)
		for _, id := range u.Groups {
			if g := a.groupByID(id); g != nil {
				q.add(s.d, a, &g.grants, "group_"+g.Name)
			}
		}
		boundary, q.known = u.Boundary, true
		q.know("aws:userid", u.ID)
		q.tags(u.Tags)
	case "group":
		g := a.groups[fold(name)]
		if g == nil || a.groupARN(g) != q.caller.ARN {
			return noGroup(name)
		}
		q.add(s.d, a, &g.grants, "group_"+g.Name)
	case "role":
		r := a.roles[fold(name)]
		if r == nil || a.roleARN(r) != q.caller.ARN {
			return noRole(name)
		}
		q.add(s.d, a, &r.grants, "role_"+r.Name)
		boundary = r.Boundary
		q.know("aws:principalarn", q.caller.ARN)
		q.know("aws:principalaccount", q.caller.AccountID)
		q.tags(r.Tags)
	default:
		return invalidInput("Invalid Entity Arn: %s does not clearly define entity type and name.", q.caller.ARN)
	}
	if q.boundary = s.d.boundaryPolicy(a, boundary); q.boundary != nil {
		q.sources = append(q.sources, source{q.boundary, boundary[strings.LastIndexByte(boundary, '/')+1:], fromBoundary})
	}
	return nil
}

func (q *simulation) tags(tags []tag) {
	for _, t := range tags {
		q.know("aws:principaltag/"+fold(t.Key), t.Value)
	}
}

// add adds an entity's policies. One that is attached more than once counts once.
func (q *simulation) add(d *Directory, a *account, g *grants, holder string) {
	for i, name := range sortedKeys(g.Inline) {
		q.sources = append(q.sources, source{g.compiled[i], holder + "_" + name, fromIdentity})
	}
	for _, arn := range g.Attached {
		p := d.policy(a, arn)
		if p != nil && !slices.ContainsFunc(q.sources, func(x source) bool { return x.policy == p.compiled }) {
			q.sources = append(q.sources, source{p.compiled, p.Name, fromIdentity})
		}
	}
}

// results are those of one page: one an action, with one for each resource in
// it. The marker tells how many were given before.
func (q *simulation) results(marker *string, size *int32) ([]types.EvaluationResult, *string, error) {
	n, start := defaultPage, 0
	if size != nil {
		n = int(*size)
	}
	if str(marker) != "" {
		text, err := base64.RawURLEncoding.DecodeString(*marker)
		if err == nil {
			start, err = strconv.Atoi(string(text))
		}
		if err != nil || start < 0 || start > len(q.actions) {
			return nil, nil, validationError("Invalid Marker.")
		}
	}
	end := min(start+n, len(q.actions))
	out := make([]types.EvaluationResult, 0, end-start)
	for _, a := range q.actions[start:end] {
		out = append(out, q.action(a))
	}
	if end == len(q.actions) {
		return out, nil, nil
	}
	return out, new(base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(end)))), nil
}

// action evaluates one action. Over several resources the strongest refusal is
// the action's result; the particulars are each resource's then.
func (q *simulation) action(name string) types.EvaluationResult {
	out := types.EvaluationResult{EvalActionName: &name, EvalResourceName: new(resourceTemplate(q.resources)), EvalDecision: types.PolicyEvaluationDecisionTypeAllowed,
		MatchedStatements: []types.Statement{}, MissingContextValues: []string{}}
	boundary := true
	for _, r := range q.resources {
		x := q.evaluate(name, r)
		boundary = boundary && (x.PermissionsBoundaryDecisionDetail == nil || x.PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary)
		if rank(x.EvalResourceDecision) > rank(out.EvalDecision) {
			out.EvalDecision = x.EvalResourceDecision
		}
		if len(q.resources) == 1 {
			out.MatchedStatements, out.EvalDecisionDetails = x.MatchedStatements, x.EvalDecisionDetails
		}
		if r == "*" && len(q.resources) == 1 {
			out.MissingContextValues = x.MissingContextValues
			continue
		}
		out.ResourceSpecificResults = append(out.ResourceSpecificResults, x)
	}
	if q.boundary != nil {
		out.PermissionsBoundaryDecisionDetail = &types.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: boundary}
	}
	return out
}

func rank(d types.PolicyEvaluationDecisionType) int {
	switch d {
	case types.PolicyEvaluationDecisionTypeExplicitDeny:
		return 2
	case types.PolicyEvaluationDecisionTypeImplicitDeny:
		return 1
	}
	return 0
}

// evaluate decides on one action and resource.
func (q *simulation) evaluate(action, resource string) types.ResourceSpecificResult {
	in := policy.Input{Boundary: q.boundary, Resource: q.resource, ResourceAccount: q.ownerOf(resource)}
	for _, x := range q.sources {
		if x.kind == fromIdentity {
			in.Identity = append(in.Identity, x.policy)
		}
	}
	x := policy.Explain(&policy.Request{Principal: q.caller, Action: action, Resource: resource, Context: q.ctx}, &in)
	out := types.ResourceSpecificResult{EvalResourceName: &resource, EvalResourceDecision: decisionType(x.Decision),
		MatchedStatements: []types.Statement{}, MissingContextValues: x.Missing}
	if out.MissingContextValues == nil {
		out.MissingContextValues = []string{}
	}
	for _, m := range x.Matches {
		i := slices.IndexFunc(q.sources, func(s source) bool { return s.policy == m.Policy })
		start, end := m.Policy.Positions(m.Statement)
		out.MatchedStatements = append(out.MatchedStatements, types.Statement{SourcePolicyId: &q.sources[i].id, SourcePolicyType: q.sources[i].kind,
			StartPosition: position(start), EndPosition: position(end)})
	}
	if q.boundary != nil {
		out.PermissionsBoundaryDecisionDetail = &types.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: x.BoundaryAllows}
	}
	if in.ResourceAccount != q.caller.AccountID {
		out.EvalDecisionDetails = map[string]types.PolicyEvaluationDecisionType{string(fromIdentity): effectType(x.Identity), string(fromResource): effectType(x.Resource)}
	}
	return out
}

// ownerOf is the account of a resource: the one in its ARN, or else the one
// that the simulation names.
func (q *simulation) ownerOf(resource string) string {
	a, err := aws.ParseARN(resource)
	if err == nil && q.known && len(a.Account) == 12 && strings.Trim(a.Account, "0123456789") == "" {
		return a.Account
	}
	return q.owner
}

func position(p policy.Position) *types.Position {
	return &types.Position{Line: int32(p.Line), Column: int32(p.Column)}
}

func decisionType(d policy.Decision) types.PolicyEvaluationDecisionType {
	switch {
	case d.Allowed:
		return types.PolicyEvaluationDecisionTypeAllowed
	case d.Explicit():
		return types.PolicyEvaluationDecisionTypeExplicitDeny
	}
	return types.PolicyEvaluationDecisionTypeImplicitDeny
}

func effectType(e policy.Effect) types.PolicyEvaluationDecisionType {
	switch e {
	case policy.Allow:
		return types.PolicyEvaluationDecisionTypeAllowed
	case policy.ExplicitDeny:
		return types.PolicyEvaluationDecisionTypeExplicitDeny
	}
	return types.PolicyEvaluationDecisionTypeImplicitDeny
}

// resourceTemplate names what a result over several resources is about: the
// form of their ARNs in the service authorization reference, when they have one
// in common.
func resourceTemplate(resources []string) string {
	if len(resources) == 1 {
		return resources[0]
	}
	out := ""
	for _, r := range resources {
		t := templateOf(r)
		if out != "" && t != out {
			return "*"
		}
		out = t
	}
	return out
}

func templateOf(resource string) string {
	a, err := aws.ParseARN(resource)
	if err != nil {
		return "*"
	}
	const here = "${Region}:${Account}:"
	kind, _, _ := strings.Cut(a.Resource, "/")
	switch a.Service {
	case "s3":
		if kind == a.Resource {
			return "arn:aws:s3:::${BucketName}"
		}
		return "arn:aws:s3:::${BucketName}/${KeyName}"
	case "athena":
		return "arn:aws:athena:" + here + kind + "/" + map[string]string{"workgroup": "${WorkGroupName}", "datacatalog": "${DataCatalogName}", "capacity-reservation": "${CapacityReservationName}"}[kind]
	case "cassandra":
		if strings.Contains(a.Resource, "/table/") {
			return "arn:aws:cassandra:" + here + "/keyspace/${KeyspaceName}/table/${TableName}"
		}
		return "arn:aws:cassandra:" + here + "/keyspace/${KeyspaceName}/"
	case "cloudtrail":
		return "arn:aws:cloudtrail:" + here + kind + "/" + map[string]string{"trail": "${TrailName}", "eventdatastore": "${EventDataStoreId}", "channel": "${ChannelId}", "dashboard": "${DashboardName}"}[kind]
	case "glue":
		return "arn:aws:glue:" + here + map[string]string{"catalog": "catalog", "database": "database/${DatabaseName}", "table": "table/${DatabaseName}/${TableName}"}[kind]
	case "iam":
		return "arn:aws:iam::${Account}:" + kind + "/" + map[string]string{"user": "${UserNameWithPath}", "group": "${GroupNameWithPath}", "role": "${RoleNameWithPath}", "policy": "${PolicyNameWithPath}"}[kind]
	}
	return "*"
}
