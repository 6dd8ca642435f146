import assert from 'node:assert/strict'
import { test } from 'node:test'
import pg from 'pg'
import { openedSqlClients } from './support/sql/opened.ts'
import { SCHEMA, SECRET } from './support/sql/schema.ts'

const { analyst, clerk } = await openedSqlClients(SCHEMA)

/** What is refused, and beside it the nearest thing that is not. */
interface Case {
  readonly kind: string
  /** Stands first: a refusal proves nothing where everything is refused. */
  readonly allowed: readonly string[]
  readonly refused: readonly string[]
  readonly code: RegExp
  readonly writes?: true
}

const CASES: readonly Case[] = [
  {
    kind: 'a table that is not declared, however it is named',
    allowed: [
      'select id from accounts',
      'select id from public.accounts',
      'SELECT "id" FROM "accounts"',
    ],
    refused: [
      'select * from vault',
      'select content from public.vault',
      'select content from "vault"',
      'select content from /* accounts */ vault -- accounts',
      'table vault',
      'select * from peek',
      'select (select content from vault limit 1)',
      'select id from accounts where exists (select 1 from vault)',
      'select id from accounts union select id from vault',
      'with accounts as (select * from vault) select * from accounts',
      'with x as (select content from vault) select * from x',
      'select * from (select content from vault) as accounts',
      'select * from accounts a, lateral (select content from vault where vault.id = a.id) v',
      'select * from accounts a join vault v on true',
      'select 1 order by (select content from vault)',
      'select count(*) filter (where (select true from vault)) from accounts',
      'select array(select content from vault)',
      'values ((select content from vault))',
      'select * from postgres.public.vault',
      'select * from other.accounts',
      'select * from U&"\\0076ault"',
    ],
    code: /SP_SQL_(?:NAME|UNSUPPORTED)/,
  },
  {
    kind: 'the catalog',
    allowed: ['select version()', 'select 1'],
    refused: [
      'select * from pg_catalog.pg_class',
      'select * from pg_class',
      'select * from pg_authid',
      'select * from information_schema.columns',
      'select * from pg_stat_activity',
      'select * from pg_stats',
      "select 'vault'::regclass",
      "select 'vault_of'::regproc",
      'select $1::regclass',
      'select current_user',
      'select session_user',
      'select user',
      'select current_role',
    ],
    code: /SP_SQL_/,
  },
  {
    kind: 'columns that are not declared, and whole rows',
    allowed: [
      'select id, balance from accounts',
      'select * from accounts',
      'select a.* from accounts a',
    ],
    refused: [
      'select ssn from accounts',
      'select accounts.ssn from accounts',
      'select "ssn" from accounts',
      'select accounts from accounts',
      'select a from accounts a',
      'select a::text from accounts a',
      'select (a).ssn from accounts a',
      'select (a.*)::text from accounts a',
      'select row(a.*) from accounts a',
      'select count(a) from accounts a',
      'select to_jsonb(a) from accounts a',
      'select row_to_json(a) from accounts a',
      'select ssn(accounts) from accounts',
      'select id from accounts where ssn is not null',
      'select id from accounts order by ssn',
      'select count(*) from accounts group by ssn',
      'select ctid from accounts',
      'select xmin from accounts',
      'select tableoid from accounts',
      'select a.id from accounts a join accounts b using (ssn)',
      'select * from accounts a natural join payments p',
      'select (select ssn from accounts b where b.id = a.id) from accounts a',
      'select x.ssn from (select * from accounts) x',
      'select public.accounts.id from accounts',
      'select accounts.id from accounts as a',
    ],
    code: /SP_SQL_(?:NAME|UNSUPPORTED)/,
  },
  {
    kind: 'columns that leave as tokens, inside anything',
    allowed: ['select iban from accounts', 'select x.iban from (select iban from accounts) x'],
    refused: [
      'select upper(iban) from accounts',
      'select iban::text from accounts',
      "select iban || '' from accounts",
      'select id from accounts order by iban',
      'select iban from accounts order by iban',
      'select iban from accounts order by 1',
      'select iban as x from accounts order by x',
      'select min(iban) from accounts',
      'select count(iban) from accounts',
      'select iban, count(*) from accounts group by iban',
      "select id from accounts where iban like 'DE%'",
      "select id from accounts where iban > 'DE'",
      "select id from accounts where iban = 'DE00000000000000000001'",
      "select id from accounts where iban in ('DE00000000000000000001')",
      'select case when iban is null then 1 end from accounts',
      'select (select iban from accounts limit 1)',
      'select id from accounts where id in (select id from accounts where iban is not null)',
      'select array(select iban from accounts)',
      'select iban from accounts union select iban from accounts',
      'select row(iban) from accounts',
      'select coalesce(iban) from accounts',
      'select a.id from accounts a join accounts b using (iban)',
      'select a.id from accounts a join accounts b on a.iban = b.iban',
      'with x as (select iban from accounts) select length(iban) from x',
      'select rank() over (order by iban) from accounts',
      'select distinct on (iban) id from accounts',
      'select string_agg(memo, iban) from accounts, payments',
    ],
    code: /SP_SQL_(?:COLUMN|VALUE)/,
  },
  {
    kind: 'functions, operators and types that are not on the lists',
    allowed: [
      "select lower('A')",
      "select pg_catalog.lower('A')",
      "select '5'::int",
      "select 'a' || 'b'",
    ],
    refused: [
      'select vault_of(1)',
      'select public.vault_of(1)',
      "select public.lower('a', 1)",
      "select pg_read_file('/etc/passwd')",
      "select pg_ls_dir('.')",
      'select pg_sleep(100)',
      "select set_config('search_path', 'public', false)",
      "select current_setting('data_directory')",
      "select query_to_xml('select * from vault', true, true, '')",
      "select table_to_xml('vault', true, true, '')",
      "select database_to_xml(true, true, '')",
      "select cursor_to_xml('c', 1, true, true, '')",
      "select dblink('', 'select 1')",
      "select lo_import('/etc/passwd')",
      'select lo_get(1)',
      "select nextval('s')",
      "select currval('s')",
      'select lastval()',
      'select pg_terminate_backend(1)',
      'select pg_advisory_lock(1)',
      "select pg_notify('a', 'b')",
      'select inet_server_addr()',
      "select has_table_privilege('vault', 'select')",
      "select pg_get_viewdef('peek')",
      "select to_regclass('vault')",
      'select generate_series(1, 1000000000)',
      'select * from generate_series(1, 10)',
      "select repeat('x', 1000000000)",
      "select lpad('x', 1000000000)",
      'select * from pg_catalog.unnest(array[1])',
      "select ts_stat('select content from vault')",
      "select * from json_populate_record(null::accounts, '{}')",
      "select 'a' ~ 'b'",
      "select 'a' operator(public.=) 'b'",
      'select null::accounts',
      "select '1'::public.vault",
      "select '{}'::oid[]",
      "select xmlparse(document '<a/>')",
      "select * from xmltable('/' passing null columns a text)",
      'select * from rows from (generate_series(1, 2))',
      'select * from accounts tablesample system (1)',
      'select grouping(branch) from accounts group by branch',
      'select percentile_cont(0.5) within group (order by balance) from accounts',
      'select sum(balance) over (order by id rows unbounded preceding) from accounts',
      "select overlay(variadic array['a'])",
      'select 1 from accounts for update',
      'select * from only accounts',
      'select balance collate "de_DE" from accounts',
    ],
    code: /SP_SQL_(?:NAME|UNSUPPORTED|SYNTAX)/,
  },
  {
    kind: 'other statements',
    allowed: ['begin', 'commit', "set application_name = 'x'", 'show timezone', 'reset timezone'],
    refused: [
      'set search_path = public',
      "set local search_path = 'public'",
      'select 1; select * from vault',
      'begin; select 1',
      'set role postgres',
      'set session authorization sallyport',
      'reset role',
      'reset all',
      'set row_security = off',
      "set datestyle = 'German'",
      "set client_encoding = 'SQL_ASCII'",
      'set standard_conforming_strings = off',
      'set statement_timeout = 0',
      'set statement_timeout = 99999999',
      'set default_transaction_read_only = off',
      'show all',
      'show data_directory',
      'copy accounts to stdout',
      "copy accounts to '/tmp/x'",
      "copy (select * from vault) to program 'cat'",
      'copy accounts from stdin',
      'do $$ begin perform 1; end $$',
      'call p()',
      'listen x',
      'notify x',
      'unlisten *',
      'prepare p as select * from vault',
      'execute p',
      'declare c cursor for select * from vault',
      'fetch c',
      'explain select * from accounts',
      'explain analyze select * from vault',
      'create table t (a int)',
      'create temp table accounts (ssn text)',
      'create view v as select * from vault',
      'create function f() returns int language sql as $$select 1$$',
      'select * into t from accounts',
      'create table t as select * from accounts',
      'drop table accounts',
      'truncate accounts',
      'alter table accounts rename to x',
      'grant all on vault to public',
      'alter role gateway superuser',
      'lock table accounts',
      'vacuum',
      'analyze accounts',
      'cluster accounts',
      'discard all',
      'checkpoint',
      "load 'x'",
      "security label on table accounts is 'x'",
      'refresh materialized view x',
      'merge into accounts a using payments p on a.id = p.account when matched then delete',
      'prepare transaction $$x$$',
      "commit prepared 'x'",
      'with recursive r as (select 1 union all select * from r) select * from r',
      'with x as (delete from accounts returning *) select * from x',
    ],
    code: /SP_SQL_/,
  },
  {
    kind: 'writes that policies could not judge',
    writes: true,
    allowed: [
      'insert into payments (id, account, amount) values (9001, 1, 5)',
      "update accounts set owner = 'x' where id = 1",
      'insert into payments (id, account, amount, at) values (9002, 1, 5, now()) on conflict do nothing',
    ],
    refused: [
      'insert into payments values (9003, 1, 5)',
      'insert into payments (id, account, amount) values (9003, 1, 500 + 600)',
      "insert into payments (id, account, amount) values (9003, 1, '5 ')",
      'insert into payments (id, account, amount) values (9003, 1, 5.0)',
      'insert into payments (id, account, amount) values (9003, 1, 1e2)',
      'insert into payments (id, account, amount) values (9003, 1, (select 5))',
      'insert into payments (id, account, amount) values (9003, 1, 5000)',
      'insert into payments (id, account, amount) values (9003, 1, 5), (9004, 1, 5000)',
      'insert into payments (id, account) values (9003, 1)',
      'insert into payments (id, account, amount) values (9003, 1, null)',
      'insert into payments (id, account, amount) values (9003, 1, default)',
      'insert into payments (id, account, amount) select 9003, 1, 5',
      'insert into payments (id, account, amount, trace) values (9003, 1, 5, null)',
      'insert into vault (id, content) values (2, null)',
      'insert into payments (id, account, amount) values (1, 1, 5) on conflict (id) do update set amount = 5000',
      'update accounts set balance = balance + 1000000 where id = 1',
      "update accounts set ssn = 'x'",
      'update accounts set (owner, branch) = (select content, content from vault)',
      'update accounts set owner = (select content from vault) where id = 1',
      'update accounts set owner = v.content from vault v',
      'update payments set amount = 1',
      'delete from accounts using vault where true',
      'delete from vault',
      'delete from payments',
      "delete from accounts where branch = 'zero'",
      "delete from accounts where branch in ('north')",
      "delete from accounts where branch = 'north' or true",
      'update accounts set id = 1 returning ssn',
      'with x as (select 1) update accounts set id = 1',
    ],
    code: /SP_(?:SQL_|NO_OPERATION|DENIED_)/,
  },
]

for (const { kind, allowed, refused, code, writes } of CASES) {
  test(`refused: ${kind}`, async (t) => {
    const client = writes ? clerk : analyst
    for (const sql of allowed) await client.query(sql)
    for (const sql of refused) {
      await t.test(sql, async () => {
        for (const over of ['simple', 'extended']) {
          const sent =
            over === 'simple'
              ? client.query(sql)
              : client.query({ text: sql, queryMode: 'extended' } as pg.QueryConfig)
          const error = await sent.then(
            ({ rows }) => assert.fail(`not refused: ${JSON.stringify(rows)}`),
            (given: unknown) => given,
          )
          assert.ok(error instanceof pg.DatabaseError, String(error))
          assert.match(error.message, code)
          assert.ok(!JSON.stringify(error).includes(SECRET), 'the refusal tells a secret')
        }
      })
    }
    // The session goes on.
    const { rows } = await client.query('select 1 as one')
    assert.deepEqual(rows, [{ one: 1 }])
  })
}

test('what is sent is shallow, whatever comes in', async (t) => {
  const nested = (n: number): string => `select ${'('.repeat(n)}1${')'.repeat(n)}`
  await analyst.query(nested(100))
  for (const [what, sql] of [
    ['brackets', nested(5000)],
    ['operators', `select 1${' + 1'.repeat(5000)}`],
    ['words', `select ${'not '.repeat(5000)} true`],
    ['queries', `select 1${' union select 1'.repeat(3000)}`],
    ['cases', `select ${'case when true then '.repeat(2000)} 1 ${' end'.repeat(2000)}`],
    ['bytes', `select '${'x'.repeat(70_000)}'`],
    ['signs', `select ${'- '.repeat(20_000)} 1`],
  ] as const) {
    await t.test(what, async () => {
      await assert.rejects(analyst.query(sql), /SP_SQL_(?:UNSUPPORTED|SYNTAX)/)
    })
  }
  await analyst.query(
    `select id from accounts where id in (${Array.from({ length: 5000 }, (_, i) => i).join(', ')})`,
  )
})
