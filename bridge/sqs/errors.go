package sqs

import (
	"strconv"

	"github.com/hermodmq/hermod/bridge/aws"
)

const (
	shapePrefix = "com.amazonaws.sqs#"
	codePrefix  = "AWS.SimpleQueueService."
)

// modelled is an error that the model of the service names.
func modelled(status int, code, shape, message string) *aws.Error {
	return &aws.Error{Status: status, Code: code, Shape: shapePrefix + shape, Message: message}
}

// batchError is one of those whose code is its shape behind the prefix.
func batchError(shape, message string) *aws.Error {
	return modelled(400, codePrefix+shape, shape, message)
}

func invalidParameter(message string) *aws.Error {
	return aws.Refuse(400, "InvalidParameterValue", "InvalidParameterValueException", message)
}

func badValue(value, name, reason string) *aws.Error {
	return invalidParameter("Value " + value + " for parameter " + name + " is invalid. Reason: " + reason)
}

func missing(name string) *aws.Error {
	return aws.Refuse(400, "MissingParameter", "MissingRequiredParameterException", "The request must contain the parameter "+name+".")
}

func unknownAttribute(name string) *aws.Error {
	return modelled(400, "InvalidAttributeName", "InvalidAttributeName", "Unknown Attribute "+name+".")
}

func badAttribute(name, reason string) *aws.Error {
	text := "Invalid value for the parameter " + name + "."
	if reason != "" {
		text += " Reason: " + reason
	}
	return modelled(400, "InvalidAttributeValue", "InvalidAttributeValue", text)
}

func queueExists(attribute string) *aws.Error {
	return modelled(400, "QueueAlreadyExists", "QueueNameExists",
		"A queue already exists with the same name and a different value for attribute "+attribute)
}

func badHandle(handle string) *aws.Error {
	return modelled(404, "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid",
		`The input receipt handle "`+handle+`" is not a valid receipt handle.`)
}

func expiredHandle(handle string) *aws.Error {
	return badValue(handle, "ReceiptHandle", "The receipt handle has expired.")
}

func notThere(what string) *aws.Error {
	return modelled(404, "ResourceNotFoundException", "ResourceNotFoundException", what)
}

func tooLong(limit int, batch bool) *aws.Error {
	what := "are invalid"
	if batch {
		what = "cannot be validated"
	}
	return invalidParameter("One or more parameters " + what + ". Reason: Message must be shorter than " + strconv.Itoa(limit) + " bytes.")
}

var (
	errNoQueue = &aws.Error{Status: 400, Code: codePrefix + "NonExistentQueue", Shape: shapePrefix + "QueueDoesNotExist",
		Message: "The specified queue does not exist.", QueryMessage: "The specified queue does not exist for this wsdl version."}
	errDeletedRecently = batchError("QueueDeletedRecently", "You must wait 60 seconds after deleting a queue before you can create another with the same name.")
	errContents        = modelled(400, "InvalidMessageContents", "InvalidMessageContents",
		"Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF")
	errBatchIDs    = batchError("InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
	errEncryptions = modelled(400, "InvalidAttributeName", "InvalidAttributeName",
		"You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.")
	errOverLimit  = modelled(403, "OverLimit", "OverLimit", "Too many messages in flight.")
	errThrottled  = modelled(403, "RequestThrottled", "RequestThrottled", "The broker is short of memory or disk space. Try again later.")
	errNoDedup    = invalidParameter("The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
	errQueueName  = invalidParameter("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	errFifoName   = invalidParameter("The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.")
	errTaskHandle = invalidParameter("Value for parameter TaskHandle is invalid.")
)
