-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Work for LuaJIT: many small functions, each made from text, run until it is compiled, and dropped. Usage: work.lua SEED
local seed = tonumber(arg[1])
local sum = 0

-- Numbers that are the same on every machine.
local function draw(below)
    seed = (seed * 16807) % 2147483647
    return seed % below
end

local operations = {
    "t = (t * 31 + i) % 1000003",
    "t = t + (i % 7) * %d",
    "if i %% 3 == 0 then t = t - %d else t = t + 1 end",
    "a[i %% 16 + 1] = (a[i %% 16 + 1] or 0) + t %% 13; t = t + a[(i + 5) %% 16 + 1]",
    "s = s .. string.char(97 + t %% 26); if #s > 20 then t = t + #s; s = '' end",
    "t = bit.bxor(t, i * %d) %% 1000003",
}

local function make()
    local lines = {"local n, a = ... local t, s = 0, ''", "for i = 1, 16 do a[i] = i end", "for i = 1, n do"}
    for _ = 1, 2 + draw(5) do
        local operation = operations[1 + draw(#operations)]
        lines[#lines + 1] = (operation:gsub("%%%%", "%%"):gsub("%%d", tostring(1 + draw(99))))
    end
    lines[#lines + 1] = "end return t + #s"
    return assert(loadstring(table.concat(lines, "\n")))
end

for round = 1, 250 do
    local f = make()
    for n = 1, 6 do
        sum = (sum * 33 + f(60 + n * 40, {})) % 1000000007
    end
    if round % 50 == 0 then
        print(arg[1], round, sum)
    end
end
