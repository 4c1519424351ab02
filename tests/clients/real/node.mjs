// Clients of Node: `node node.mjs CLIENT SUFFIX`. ws and grpc-js come from npm.
import crypto from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import { createRequire } from 'node:module';

const [client, suffix] = process.argv.slice(2);
const BODY = Buffer.from(Array.from({ length: 1_000_000 }, (_, at) => at % 251));
const STATUSES = ['204', '404', '500', '503'];

function fact(what, status, headers, body = '') {
  body = Buffer.from(body);
  const sum = crypto.createHash('sha256').update(body).digest('hex');
  console.log(JSON.stringify({ what, status, headers, body: `${body.length} ${sum}` }));
}

// get(method, service, path, body) -> [status, headers, body]
async function everything(get) {
  fact('get', ...(await get('GET', 'hello', '/')));
  fact('post', ...(await get('POST', 'echo', '/', BODY)));
  fact('stream', ...(await get('GET', 'bytes', '/300000?chunked=1')));
  for (const status of STATUSES) fact(status, ...(await get('GET', 'status', `/${status}`)));
  const asked = (await get('GET', 'echo', '/headers'))[2];
  console.log(JSON.stringify({ what: 'asked', asked: asked.toString() }));
  const fifty = [];
  for (let at = 0; at < 50; at++) fifty.push((await get('GET', 'bytes', `/${at}`))[2]);
  fact('fifty', 0, [], Buffer.concat(fifty));
  const twenty = Array.from({ length: 20 }, (_, at) => get('GET', 'bytes', `/${at}`));
  fact('twenty', 0, [], Buffer.concat((await Promise.all(twenty)).map((answer) => answer[2])));
}

const clients = {
  async fetch() {
    await everything(async (method, service, path, body) => {
      const answer = await fetch(`http://${service}${suffix}${path}`, { method, body });
      return [answer.status, [...answer.headers], Buffer.from(await answer.arrayBuffer())];
    });
  },

  async http() {
    const agent = new http.Agent({ keepAlive: true });
    await everything((method, service, path, body) => new Promise((resolve, reject) => {
      const request = http.request(`http://${service}${suffix}${path}`, { method, agent }, (answer) => {
        const parts = [];
        answer.on('data', (part) => parts.push(part)).on('error', reject);
        answer.on('end', () => resolve([answer.statusCode, answer.headers, Buffer.concat(parts)]));
      });
      request.on('error', reject).end(body);
    }));
    agent.destroy();
  },

  async http2() {
    const sessions = {};
    await everything((method, service, path, body) => new Promise((resolve, reject) => {
      sessions[service] ??= http2.connect(`http://${service}${suffix}`);
      const request = sessions[service].request({ ':method': method, ':path': path });
      const parts = [];
      let headers;
      request.on('response', (answer) => { headers = answer; }).on('error', reject);
      request.on('data', (part) => parts.push(part));
      request.on('end', () => resolve([headers[':status'], headers, Buffer.concat(parts)]));
      request.end(body);
    }));
    for (const session of Object.values(sessions)) session.close();
  },

  async ws() {
    const WebSocket = createRequire(`${process.env.NODE_MODULES}/`)('ws');
    const socket = new WebSocket(`ws://ws${suffix}/`);
    const once = (event) => new Promise((resolve, reject) => socket.once(event, resolve).once('error', reject));
    await once('open');
    for (const message of ['hello', BODY]) {
      socket.send(message);
      fact(`echo of ${message.length}`, 0, [], await once('message'));
    }
    socket.ping('there?');
    fact('ping', 0, [], await once('pong'));
    socket.send('close 4001');
    fact('closed', await once('close'));
  },

  async grpc() {
    const grpc = createRequire(`${process.env.NODE_MODULES}/`)('@grpc/grpc-js');
    const channel = new grpc.Client(`grpc${suffix}:80`, grpc.credentials.createInsecure());
    const same = (bytes) => bytes;
    const path = (method) => `/test.Echo/${method}`;
    const told = ({ code, details, metadata }) => [code, [['details', details], ...Object.entries(metadata.getMap()).map(([name, value]) => [name, String(value)])]];
    const unary = (method, body) => new Promise((resolve) => {
      let message = Buffer.alloc(0);
      channel.makeUnaryRequest(path(method), same, same, body, (_, answer) => { message = answer ?? message; })
        .on('status', (status) => resolve([...told(status), message]));
    });
    fact('post', ...(await unary('Unary', BODY)));
    for (const method of ['Fail', 'TrailersOnly', 'NoSuch']) fact(method, ...(await unary(method, Buffer.alloc(0))));
    await new Promise((resolve) => {
      const parts = [];
      channel.makeServerStreamRequest(path('ServerStream'), same, same, Buffer.from('1000'))
        .on('data', (part) => parts.push(part))
        .on('status', (status) => resolve(fact('stream', ...told(status), Buffer.concat(parts))));
    });
    await new Promise((resolve) => {
      const parts = [];
      const call = channel.makeBidiStreamRequest(path('Bidi'), same, same)
        .on('data', (part) => parts.push(part))
        .on('status', (status) => resolve(fact('both', ...told(status), Buffer.concat(parts))));
      for (const word of ['one', 'two', 'three']) call.write(Buffer.from(word));
      call.end();
    });
    const fifty = [];
    for (let at = 0; at < 50; at++) fifty.push((await unary('Unary', Buffer.from(`${at}`)))[2]);
    fact('fifty', 0, [], Buffer.concat(fifty));
    const twenty = Array.from({ length: 20 }, (_, at) => unary('Unary', Buffer.from(`${at}`)));
    fact('twenty', 0, [], Buffer.concat((await Promise.all(twenty)).map((answer) => answer[2])));
    channel.close();
  },
};

await clients[client]();
