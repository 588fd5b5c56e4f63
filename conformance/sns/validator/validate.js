// Validates the messages on standard input, one line of JSON each, and prints "valid" or what is wrong, a line each, in order. HOST is the host and port
// that certificates may come from.
"use strict";
const Validator = require("sns-validator");
const host = new RegExp("^" + process.env.HOST.replaceAll(".", "\\.") + "$");
const validator = new Validator(host, "utf8");
const lines = require("node:fs").readFileSync(0, "utf8").split("\n").filter((l) => l);
const validate = (line) => new Promise((done) => validator.validate(JSON.parse(line), (err) => done(err ? err.message : "valid")));
(async () => {
  for (const line of lines) console.log(await validate(line));
})();
