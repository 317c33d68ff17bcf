package trail

import (
	"context"
	"fmt"
	"strings"

	"spoor/internal/aws"
	"spoor/internal/notify"
)

// Roles says what CloudTrail may do with a role.
type Roles interface {
	// MayAssume reports whether the role lets CloudTrail assume it for a trail.
	MayAssume(role, trailARN, account string) (bool, error)
	// May reports whether the role's policies, and the resource's, allow a use.
	May(role string, use RoleUse) (bool, error)
}

// RoleUse is what CloudTrail does with a role that it assumed.
type RoleUse struct {
	Action, Resource string
	SourceARN        string // of the trail or event data store that it is done for
	Account          string // its account
	Owner, Document  string // the resource's account and policy, "" for the role's own account and none
}

// logsHelp describes the role that a log group needs.
const logsHelp = "https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-required-policy-for-cloudwatch-logs.html"

// declareHint is how an operator gives a trail somewhere to send to.
const declareHint = "On this server a %s exists when the file that --notifications names declares it: %s is not in it."

// CheckTopic reports whether a trail of an account may notify a topic: nil, or
// AWS's InsufficientSnsTopicPolicyException with a hint. Topics have no policy
// here that could let another account's trails in.
func (m *Manager) CheckTopic(account, arn string) error {
	hint := fmt.Sprintf(declareHint, "topic", arn)
	switch parsed, err := aws.ParseARN(arn); {
	case err != nil || parsed.Account != account:
		hint = "The topic must be in the trail's account."
	case m.cfg.Notify != nil && m.cfg.Notify.HasTopic(arn):
		return nil
	}
	return &aws.Error{Op: "cloudtrail", Kind: aws.Invalid, Code: "InsufficientSnsTopicPolicyException",
		Message: "SNS Topic does not exist or the topic policy is incorrect! " + hint}
}

// MayAssume reports whether CloudTrail may assume a role for what an ARN names.
func (m *Manager) MayAssume(role, sourceARN, account string) (bool, error) {
	if m.cfg.Roles == nil {
		return false, nil
	}
	return m.cfg.Roles.MayAssume(role, sourceARN, account)
}

// RoleMay reports whether a role lets CloudTrail do something.
func (m *Manager) RoleMay(role string, use RoleUse) (bool, error) {
	if m.cfg.Roles == nil {
		return false, nil
	}
	return m.cfg.Roles.May(role, use)
}

// CheckLogGroup reports whether a trail may send to its log group by its role:
// nil, or the errors of CreateTrail for that, each with what is missing.
func (m *Manager) CheckLogGroup(t *State) error {
	group, role := t.Settings.LogGroup, t.Settings.LogRole
	fault := func(code, format string, args ...any) error {
		return &aws.Error{Op: "cloudtrail", Kind: aws.Invalid, Code: code, Message: fmt.Sprintf(format, args...)}
	}
	const badGroup, badRole = "InvalidCloudWatchLogsLogGroupArnException", "InvalidCloudWatchLogsRoleArnException"
	parsed, err := aws.ParseARN(group)
	switch {
	case group == "" && role == "":
		return nil
	case group == "":
		return fault(badGroup, "You must specify a log group as well as a role ARN.")
	case role == "":
		return fault(badRole, "You must specify a role ARN as well as a log group.")
	case !notify.ValidLogGroupARN(group) || !strings.HasSuffix(group, ":*"):
		return fault(badGroup, "CloudTrail cannot validate the specified log group ARN. It has the form arn:aws:logs:us-east-1:123456789012:log-group:NAME:*")
	case err != nil || parsed.Account != t.Account:
		return fault(badGroup, "CloudTrail cannot validate the specified log group ARN. The log group must be in the trail's account.")
	case m.cfg.Notify == nil || !m.cfg.Notify.HasLogGroup(group):
		return fault(badGroup, "CloudTrail cannot validate the specified log group ARN. "+declareHint, "log group", group)
	}
	trusted, missing, err := m.logRole(t.ARN(), t.Account, t.HomeRegion, &t.Settings)
	switch {
	case err != nil:
		return err
	case !trusted:
		return fault(badRole, "Access denied. Check the trust relationships for your role. %s must exist and its trust policy let %s do sts:AssumeRole. See %s",
			role, ServicePrincipal, logsHelp)
	case missing != "":
		return fault(badGroup, "Access denied. Check the permissions for your role. It needs %s. See %s", missing, logsHelp)
	}
	return nil
}

// logRole reports whether CloudTrail may use the role of a trail's log group,
// and what of the permissions is missing for the stream of a region.
func (m *Manager) logRole(trailARN, account, region string, s *Settings) (trusted bool, missing string, err error) {
	if m.cfg.Roles == nil {
		return false, "", nil
	}
	if trusted, err = m.cfg.Roles.MayAssume(s.LogRole, trailARN, account); err != nil || !trusted {
		return false, "", err
	}
	stream := notify.LogGroupID(s.LogGroup) + ":log-stream:" + notify.LogStream(account, region)
	for _, action := range []string{"logs:CreateLogStream", "logs:PutLogEvents"} {
		may, err := m.cfg.Roles.May(s.LogRole, RoleUse{Action: action, Resource: stream, SourceARN: trailARN, Account: account})
		switch {
		case err != nil:
			return true, "", err
		case !may:
			return true, action + " on " + stream, nil
		}
	}
	return true, "", nil
}

// logSender sends a trail's records if its role lets it do so now, as
// CloudTrail assumes the role for each delivery.
type logSender struct {
	notify.Sender
	source *logSource
}

func (s logSender) Send(ctx context.Context, batch []notify.Message) error {
	l := s.source
	trusted, missing, err := l.m.logRole(l.arn, l.account, l.home, &l.set)
	switch {
	case err != nil:
		return err
	case !trusted:
		return fmt.Errorf("%w: the role %s cannot be assumed", notify.ErrDenied, l.set.LogRole)
	case missing != "":
		return fmt.Errorf("%w: the role %s lacks %s", notify.ErrDenied, l.set.LogRole, missing)
	}
	return s.Sender.Send(ctx, batch)
}
