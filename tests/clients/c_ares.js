// Looks names up with c-ares (dns.resolve…) and with the C library
// (dns.lookup): a line for each question, in the order asked.
const dns = require("dns").promises;
const ask = {
  lookup: async (name) => (await dns.lookup(name, { family: 4 })).address,
  all: async (name) => (await dns.lookup(name, { all: true })).map((one) => one.address),
  txt: async (name) => String((await dns.resolveTxt(name)).flat().join("").length),
  srv: async (name) => (await dns.resolveSrv(name)).map((one) => `${one.name}:${one.port}`),
  mx: async (name) => (await dns.resolveMx(name)).map((one) => one.exchange),
  caa: async (name) => (await dns.resolveCaa(name)).map((one) => one.issue),
  ptr: (name) => dns.reverse(name),
};
(async () => {
  for (const question of process.argv.slice(2)) {
    const [kind, name] = question.split("=");
    const how = ask[kind] || ((host) => dns.resolve(host, kind));
    const said = await how(name).then(String, (err) => err.code);
    console.log(question, said);
  }
})();
