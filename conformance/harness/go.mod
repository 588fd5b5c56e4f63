module github.com/hermodmq/hermod/conformance/harness

go 1.26.0
