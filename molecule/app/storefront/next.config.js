// A server of its own with the packages that it needs, and no others.
module.exports = { output: "standalone" };
