-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Work for sqlite.
create table t(a integer primary key, b text);
with recursive c(x) as (select 1 union all select x + 1 from c where x < 8000) insert into t select x, hex(x * 7919) from c;
create index i on t(b);
select count(*), sum(a), max(b) from t where b like '%3%';
select substr(b, 1, 4) as head, count(*) from t group by head order by 2 desc, 1 limit 5;
update t set b = b || a where a % 3 = 0;
select sum(length(b)), count(distinct b) from t;
