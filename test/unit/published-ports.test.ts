import { describe, expect, test } from 'vitest';
import { listPublishedPorts } from '../../src/link/published-ports.ts';

const container = (name: string, ports: readonly object[], more: object = {}): object => ({
  Id: 'f00d'.repeat(16),
  Names: [`/${name}`],
  Created: 1,
  Ports: ports,
  ...more,
});

/** Formats ports as `web: tcp 127.0.0.1:80 > 0.0.0.0:80`, without those of ::1. */
function format(containers: unknown, listenAddress?: string): readonly string[] {
  return listPublishedPorts(containers, listenAddress)
    .filter(({ isExtra }) => !isExtra)
    .map(
      ({ container: name, forward: { protocol, listen, target } }) =>
        `${name}: ${protocol} ${listen.address}:${listen.port} > ${target.address}:${target.port}`,
    );
}

describe('listPublishedPorts', () => {
  test('returns a port once that the engine opens for IPv4 and for IPv6', () => {
    const ports = [
      { IP: '0.0.0.0', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' },
      { IP: '::', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' },
    ];
    expect(format([container('web', ports)])).toEqual(['web: tcp 127.0.0.1:8080 > 0.0.0.0:8080']);
  });

  test('leaves out ports that are exposed and not published, and protocols that no forwarder knows', () => {
    const ports = [
      { PrivatePort: 80, Type: 'tcp' },
      { IP: '0.0.0.0', PrivatePort: 9, PublicPort: 9, Type: 'sctp' },
    ];
    expect(format([container('web', ports)])).toEqual([]);
  });

  test('tells TCP and UDP of the same number apart, and returns each port of a range', () => {
    const ports = [
      { IP: '0.0.0.0', PublicPort: 53, Type: 'tcp' },
      { IP: '0.0.0.0', PublicPort: 53, Type: 'udp' },
      { IP: '0.0.0.0', PublicPort: 54, Type: 'udp' },
    ];
    expect(format([container('dns', ports)])).toEqual([
      'dns: tcp 127.0.0.1:53 > 0.0.0.0:53',
      'dns: udp 127.0.0.1:53 > 0.0.0.0:53',
      'dns: udp 127.0.0.1:54 > 0.0.0.0:54',
    ]);
  });

  test.each([
    ['127.0.0.1', '127.0.0.1:80 > 127.0.0.1:80', '127.0.0.1:80 > 127.0.0.1:80'],
    ['127.0.0.2', '127.0.0.2:80 > 127.0.0.2:80', '127.0.0.2:80 > 127.0.0.2:80'],
    ['::1', '::1:80 > ::1:80', '::1:80 > ::1:80'],
    ['::', '127.0.0.1:80 > ::1:80', '0.0.0.0:80 > ::1:80'],
    ['10.0.2.15', '127.0.0.1:80 > 10.0.2.15:80', '0.0.0.0:80 > 10.0.2.15:80'],
    ['', '127.0.0.1:80 > 0.0.0.0:80', '0.0.0.0:80 > 0.0.0.0:80'],
  ])('a port that is published on %s becomes %s, and with --publish-on 0.0.0.0 %s', (IP, byDefault, onAll) => {
    const web = container('web', [{ IP, PublicPort: 80, Type: 'tcp' }]);
    expect(format([web])).toEqual([`web: tcp ${byDefault}`]);
    expect(format([web], '0.0.0.0')).toEqual([`web: tcp ${onAll}`]);
  });

  test('forwards from ::1 what is forwarded from 127.0.0.1, and nothing else', () => {
    const ports = [
      { IP: '0.0.0.0', PublicPort: 80, Type: 'tcp' },
      { IP: '127.0.0.2', PublicPort: 81, Type: 'tcp' },
    ];
    const extras = listPublishedPorts([container('web', ports)]).filter(({ isExtra }) => isExtra);
    expect(extras.map(({ forward: { listen, target } }) => ({ listen, target }))).toEqual([
      { listen: { address: '::1', port: 80 }, target: { address: '0.0.0.0', port: 80 } },
    ]);
    expect(listPublishedPorts([container('web', ports)], '192.0.2.7')).toHaveLength(2);
  });

  test('lists the ports of older containers first, whatever the order of the answer', () => {
    const port = { IP: '0.0.0.0', PublicPort: 80, Type: 'tcp' };
    const old = container('old', [port], { Created: 5 });
    const young = container('young', [{ ...port, PublicPort: 81 }], { Created: 9 });
    expect(format([young, old])).toEqual(format([old, young]));
    expect(format([young, old])[0]).toMatch(/^old/);
  });

  test('names a container by its own name, not by that of a link, and one without a name by its id', () => {
    const ports = [{ IP: '0.0.0.0', PublicPort: 80, Type: 'tcp' }];
    expect(format([container('', ports, { Names: ['/shop/db', '/db'] })])[0]).toMatch(/^db:/);
    expect(format([container('', ports, { Names: null })])[0]).toMatch(/^f00df00df00d:/);
  });

  test.each([
    [null],
    ['no JSON'],
    [{ message: 'error' }],
    [[null, 7, { Ports: 'none' }]],
    [[{ Ports: [null, { PublicPort: 1e9, Type: 'tcp' }] }]],
  ])('returns no port for the answer %j of something that is not an engine', (answer) => {
    expect(listPublishedPorts(answer)).toEqual([]);
  });
});
