package iam

import (
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/policy"
)

// contextKeyOperations tell which condition keys policies ask for.
func (s *api) contextKeyOperations() []call.Operation {
	return []call.Operation{
		op("GetContextKeysForCustomPolicy", anything, s.contextKeysForCustom, call.ReadOnly),
		op("GetContextKeysForPrincipalPolicy", func(_ *call.Call, in *sdk.GetContextKeysForPrincipalPolicyInput) target {
			return target{arn: str(in.PolicySourceArn)}
		}, s.contextKeysForPrincipal, call.ReadOnly),
	}
}

// contextKeys are the keys of the policies, each once whatever its case.
func contextKeys(policies []*policy.Policy) []string {
	out, seen := []string{}, map[string]bool{}
	for _, p := range policies {
		for _, k := range p.ContextKeys() {
			if !seen[fold(k)] {
				seen[fold(k)] = true
				out = append(out, k)
			}
		}
	}
	slices.Sort(out)
	return out
}

// inputPolicies parses policies that a caller gave to be looked at.
func (s *api) inputPolicies(texts []string) ([]*policy.Policy, error) {
	out := make([]*policy.Policy, 0, len(texts))
	for _, t := range texts {
		p, err := policy.Parse(t, policy.Identity)
		if err != nil {
			return nil, invalidInput("Invalid policy: %s", trimMalformed(err))
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *api) contextKeysForCustom(_ *call.Call, in *sdk.GetContextKeysForCustomPolicyInput) (*sdk.GetContextKeysForCustomPolicyOutput, error) {
	ps, err := s.inputPolicies(in.PolicyInputList)
	return &sdk.GetContextKeysForCustomPolicyOutput{ContextKeyNames: contextKeys(ps)}, err
}

func (s *api) contextKeysForPrincipal(c *call.Call, in *sdk.GetContextKeysForPrincipalPolicyInput) (*sdk.GetContextKeysForPrincipalPolicyOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	of, err := s.policiesOf(a, str(in.PolicySourceArn))
	if err != nil {
		return nil, err
	}
	ps, err := s.inputPolicies(in.PolicyInputList)
	return &sdk.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: contextKeys(append(of, ps...))}, err
}

// policiesOf are the policies of the user, with those of its groups, the group
// or the role that an ARN names.
func (s *api) policiesOf(a *account, arn string) ([]*policy.Policy, error) {
	p, err := aws.ParseARN(arn)
	if err != nil || p.Service != "iam" || p.Account != a.settings.ID {
		return nil, invalidARN(arn)
	}
	kind, rest, _ := strings.Cut(p.Resource, "/")
	name := rest[strings.LastIndexByte(rest, '/')+1:]
	switch kind {
	case "user":
		if u := a.users[fold(name)]; u != nil && a.userARN(u) == arn {
			return s.d.userPolicies(a, u), nil
		}
		return nil, noUser(name)
	case "group":
		if g := a.groups[fold(name)]; g != nil && a.groupARN(g) == arn {
			return s.d.grantPolicies(a, &g.grants, nil), nil
		}
		return nil, noGroup(name)
	case "role":
		if r := a.roles[fold(name)]; r != nil && a.roleARN(r) == arn {
			return s.d.grantPolicies(a, &r.grants, nil), nil
		}
		return nil, noRole(name)
	}
	return nil, invalidARN(arn)
}
