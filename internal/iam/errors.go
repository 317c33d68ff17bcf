package iam

import (
	"fmt"
	"net/http"
	"strings"

	"spoor/internal/aws"
)

func fail(kind aws.Kind, status int, code, format string, args ...any) *aws.Error {
	return &aws.Error{Op: "iam", Kind: kind, Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func noSuchEntity(format string, args ...any) *aws.Error {
	return fail(aws.NotFound, http.StatusNotFound, "NoSuchEntity", format, args...)
}

func alreadyExists(format string, args ...any) *aws.Error {
	return fail(aws.Conflict, http.StatusConflict, "EntityAlreadyExists", format, args...)
}

func deleteConflict(format string, args ...any) *aws.Error {
	return fail(aws.Conflict, http.StatusConflict, "DeleteConflict", format, args...)
}

// limitExceeded names a quota as IAM does ("AccessKeysPerUser").
func limitExceeded(quota string, limit int) *aws.Error {
	return fail(aws.LimitExceeded, http.StatusConflict, "LimitExceeded", "Cannot exceed quota for %s: %d", quota, limit)
}

func malformedPolicy(format string, args ...any) *aws.Error {
	return fail(aws.Invalid, http.StatusBadRequest, "MalformedPolicyDocument", format, args...)
}

func validationError(format string, args ...any) *aws.Error {
	return fail(aws.Invalid, http.StatusBadRequest, "ValidationError", format, args...)
}

func invalidInput(format string, args ...any) *aws.Error {
	return fail(aws.Invalid, http.StatusBadRequest, "InvalidInput", format, args...)
}

func invalidARN(arn string) *aws.Error { return invalidInput("ARN %s is not valid.", arn) }

func noUser(name string) *aws.Error {
	return noSuchEntity("The user with name %s cannot be found.", name)
}

func noGroup(name string) *aws.Error {
	return noSuchEntity("The group with name %s cannot be found.", name)
}

func noRole(name string) *aws.Error {
	return noSuchEntity("The role with name %s cannot be found.", name)
}

func noPolicy(arn string) *aws.Error {
	return noSuchEntity("Policy %s was not found.", arn)
}

func notAttachable(arn string) *aws.Error {
	return noSuchEntity("Policy %s does not exist or is not attachable.", arn)
}

func noPolicyVersion(arn, id string) *aws.Error {
	return noSuchEntity("Policy %s version %s does not exist or is not attachable.", arn, id)
}

// invalidValue is the error of an input that violates IAM's model. For a name
// or a path with other characters than it may have, IAM says in words what
// others say with the pattern.
func invalidValue(message string) error {
	const one, pattern = "1 validation error detected: ", "' failed to satisfy constraint: Member must satisfy regular expression pattern: "
	end := strings.LastIndex(message, pattern)
	if end < 0 || !strings.HasPrefix(message, one) {
		return validationError("%s", message)
	}
	start := strings.LastIndex(message[:end], " at '")
	if start < 0 {
		return validationError("%s", message)
	}
	member := message[start+len(" at '") : end]
	switch message[end+len(pattern):] {
	case `[\w+=,.@-]+`:
		return validationError("The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", member)
	case `(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`:
		return invalidPath(member)
	}
	return validationError("%s", message)
}

func invalidPath(member string) error {
	return validationError("The specified value for %s is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.", member)
}

// notOwnPolicy answers changes of policies that AWS, or another account, keeps.
func notOwnPolicy() *aws.Error {
	return fail(aws.Denied, http.StatusForbidden, "AccessDenied", "Policy is outside your own account.")
}

func noLogin(user string) *aws.Error {
	return noSuchEntity("Login Profile for User %s cannot be found.", user)
}

func noProfile(name string) *aws.Error {
	return noSuchEntity("Instance Profile %s cannot be found.", name)
}

func weakPassword(format string, args ...any) *aws.Error {
	return fail(aws.Invalid, http.StatusBadRequest, "PasswordPolicyViolation", format, args...)
}

// noSuchAccount is a call for an account that this server does not hold; a
// caller's own account always exists.
func noSuchAccount(id string) *aws.Error {
	return fail(aws.Denied, http.StatusForbidden, "AccessDenied", "The account %s does not exist.", id)
}
