package sns

import (
	"strconv"

	"github.com/hermodmq/hermod/bridge/aws"
)

func refuse(status int, code, message string) *aws.Error {
	return &aws.Error{Status: status, Code: code, Message: message}
}

// invalid is the service's usual refusal; text names the parameter.
func invalid(text string) *aws.Error {
	return refuse(400, "InvalidParameter", "Invalid parameter: "+text)
}

// badValue is the refusal of message attributes.
func badValue(text string) *aws.Error { return refuse(400, "ParameterValueInvalid", text) }

func notFound(what string) *aws.Error { return refuse(404, "NotFound", what+" does not exist") }

// missing is what the validation in front of the service says of a parameter
// that is not there.
func missing(member string) *aws.Error {
	return refuse(400, "ValidationError", "1 validation error detected: Value null at '"+member+"' failed to satisfy constraint: Member must not be null")
}

// shortARN says that a name has too few parts.
func shortARN(parameter string, elements int) *aws.Error {
	return invalid(parameter + " Reason: An ARN must have at least 6 elements, not " + strconv.Itoa(elements))
}

var (
	errTopic        = notFound("Topic")
	errSubscription = notFound("Subscription")
	errThrottled    = refuse(429, "Throttled", "The broker is short of memory or disk space. Try again later.")
)

func denied(principal, action, resource string) *aws.Error {
	return refuse(403, "AuthorizationError", "User: "+principal+" is not authorized to perform: SNS:"+action+" on resource: "+resource+
		" because no resource-based policy allows the SNS:"+action+" action")
}
