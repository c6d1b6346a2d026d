// The MAC row of a slice: each T times the values of one basis kernel, into the partial sums of a line buffer.
//
// A T waits in a queue of QUEUE results. The row takes MULTIPLIERS values of the kernel a cycle, so that a T keeps it busy
// for ⌈HEIGHT·WIDTH ÷ MULTIPLIERS⌉ cycles. The line buffer holds the partial sums of the output rows that the
// kernel's window touches while one row of pixels streams by: output row y lies in line y modulo LINES. The products of
// a kernel row go to different columns of one line, those of different kernel rows to different lines. Between
// rows of pixels a finished output row is read out and its line cleared.
module mac_row #(
    parameter int HEIGHT = 3,
    parameter int WIDTH = 3,
    parameter int MULTIPLIERS = 9,
    parameter int STRIDE = 1,          // a power of two, both ways
    parameter int PADDING = 1,
    parameter int OUT_ROWS = 8,
    parameter int COLUMNS = 8,         // of an output row
    parameter int QUEUE = 2,
    parameter int INPUT = 32,
    parameter int SUM = 32,
    parameter int PLACE = 16,          // bits of a row's or column's number
    localparam int TAPS = HEIGHT * WIDTH,
    localparam int TURNS = (TAPS + MULTIPLIERS - 1) / MULTIPLIERS,
    localparam int LINES = (HEIGHT + STRIDE - 1) / STRIDE,
    localparam int LINE = LINES == 1 ? 1 : $clog2(LINES)
) (
    input  wire clock,
    input  wire reset,
    input  wire [8*TAPS-1:0] basis,    // signed, kernel row after kernel row
    input  wire [PLACE-1:0] row,       // of the pixels that stream by
    input  wire offered,
    input  wire signed [INPUT-1:0] value,
    input  wire [PLACE-1:0] column,
    output wire taken,
    output wire begins,                // a T is taken from the queue, or from the input where that is empty
    output wire ends,                  // a T is done with
    output wire busy,
    input  wire clear,                 // of the line that is read
    input  wire [PLACE-1:0] read_row,
    output wire [SUM*COLUMNS-1:0] read_sums
);
    localparam int SHIFT = $clog2(STRIDE);
    localparam int WAITING = $clog2(QUEUE + 1);
    localparam int TURN = TURNS == 1 ? 1 : $clog2(TURNS);
    localparam int ITEM = INPUT + PLACE;

    // The queue of results.
    reg [ITEM-1:0] queue [0:QUEUE-1];
    reg [WAITING-1:0] waiting;
    reg working;
    reg [TURN-1:0] turn;
    reg signed [INPUT-1:0] factor;
    reg [PLACE-1:0] at;
    assign ends = working && turn == TURN'(TURNS - 1);
    wire free = !working || ends;
    wire leaves = free && waiting != '0;
    assign taken = waiting != WAITING'(QUEUE) || free;
    wire enters = offered && taken;
    wire passes_by = enters && free && waiting == '0;
    assign begins = leaves || passes_by;
    wire [WAITING-1:0] behind = waiting - WAITING'(leaves);
    always_ff @(posedge clock) begin
        if (reset) begin
            waiting <= '0;
            working <= 1'b0;
        end else begin
            waiting <= behind + WAITING'(enters && !passes_by);
            working <= begins || !free;
        end
        for (int place = 0; place < QUEUE; place++) begin
            if (enters && behind == WAITING'(place)) queue[place] <= {value, column};
            else if (leaves && place + 1 < QUEUE) queue[place] <= queue[(place + 1) % QUEUE];
        end
        turn <= free ? '0 : turn + 1'b1;
        if (free) {factor, at} <= leaves ? queue[0] : {value, column};
    end
    assign busy = working || waiting != '0;

    // Where products belong, by kernel row r and column s: y = (row + padding - r) / stride, where that is whole and an
    // output row; x likewise. One-hot; zero: nowhere.
    function automatic logic [LINES-1:0] line_of(input logic [PLACE-1:0] y);
        logic [LINE:0] rest;
        rest = '0;
        for (int i = PLACE - 1; i >= 0; i--) begin
            rest = {rest[LINE-1:0], y[i]};
            if (rest >= (LINE+1)'(LINES)) rest = rest - (LINE+1)'(LINES);
        end
        for (int line = 0; line < LINES; line++) line_of[line] = rest == (LINE+1)'(line);
    endfunction
    logic [LINES*HEIGHT-1:0] lines;
    logic [COLUMNS*WIDTH-1:0] columns;
    logic [PLACE:0] above, aside;
    always_comb begin
        above = '0;
        for (int r = 0; r < HEIGHT; r++) begin
            above = (PLACE+1)'(row) + (PLACE+1)'(PADDING) - (PLACE+1)'(r);
            lines[LINES*r +: LINES] = !above[PLACE] && (above & (PLACE+1)'(STRIDE - 1)) == '0
                && (above >> SHIFT) < (PLACE+1)'(OUT_ROWS) ? line_of(PLACE'(above >> SHIFT)) : '0;
        end
    end
    always_comb begin
        aside = '0;
        for (int s = 0; s < WIDTH; s++) begin
            aside = (PLACE+1)'(at) + (PLACE+1)'(PADDING) - (PLACE+1)'(s);
            for (int x = 0; x < COLUMNS; x++) columns[COLUMNS*s + x] = aside == (PLACE+1)'(x * STRIDE);
        end
    end

    // The taps of this cycle, one a multiplier: those from turn · MULTIPLIERS on.
    wire [8*MULTIPLIERS-1:0] weights;
    wire [LINES*MULTIPLIERS-1:0] to_line;
    wire [COLUMNS*MULTIPLIERS-1:0] to_column;
    for (genvar m = 0; m < MULTIPLIERS; m++) begin : g_multiplier
        logic [7:0] weight;
        logic [LINES-1:0] line;
        logic [COLUMNS-1:0] to;
        always_comb begin
            weight = '0;
            line = '0;
            to = '0;
            for (int tap = m; tap < TAPS; tap += MULTIPLIERS) begin
                if (working && turn == TURN'(tap / MULTIPLIERS)) begin
                    weight = basis[8*tap +: 8];
                    line = lines[LINES*(tap / WIDTH) +: LINES];
                    to = columns[COLUMNS*(tap % WIDTH) +: COLUMNS];
                end
            end
        end
        assign weights[8*m +: 8] = weight;
        assign to_line[LINES*m +: LINES] = line;
        assign to_column[COLUMNS*m +: COLUMNS] = to;
    end
    wire [SUM*MULTIPLIERS-1:0] old_sums, new_sums;
    multiply_adders #(.MULTIPLIERS(MULTIPLIERS), .INPUT(INPUT), .SUM(SUM)) adders (
        .factor(factor), .weights(weights), .old_sums(old_sums), .new_sums(new_sums)
    );
    line_buffer #(.LINES(LINES), .COLUMNS(COLUMNS), .PORTS(MULTIPLIERS), .SUM(SUM)) buffer (
        .clock(clock), .reset(reset), .to_line(to_line), .to_column(to_column), .old_sums(old_sums), .new_sums(new_sums),
        .clear(clear), .read_line(line_of(read_row)), .read_sums(read_sums)
    );
endmodule

// One factor times as many weights as there are multipliers, each product added to a partial sum of its own.
module multiply_adders #(
    parameter int MULTIPLIERS = 9,
    parameter int INPUT = 32,
    parameter int SUM = 32
) (
    input  wire signed [INPUT-1:0] factor,
    input  wire [8*MULTIPLIERS-1:0] weights,
    input  wire [SUM*MULTIPLIERS-1:0] old_sums,
    output wire [SUM*MULTIPLIERS-1:0] new_sums
);
    for (genvar m = 0; m < MULTIPLIERS; m++) begin : g_multiplier
        wire signed [7:0] weight = weights[8*m +: 8];
        wire signed [INPUT+7:0] product = factor * weight;
        assign new_sums[SUM*m +: SUM] = old_sums[SUM*m +: SUM] + SUM'(product);
    end
endmodule

// Partial sums in LINES lines of COLUMNS; each port reads one and writes it in the same cycle, no two the same. A whole line
// is read at once, and cleared then or not.
module line_buffer #(
    parameter int LINES = 3,
    parameter int COLUMNS = 8,
    parameter int PORTS = 9,
    parameter int SUM = 32
) (
    input  wire clock,
    input  wire reset,
    input  wire [LINES*PORTS-1:0] to_line,      // one-hot, or zero: the port does nothing
    input  wire [COLUMNS*PORTS-1:0] to_column,
    output logic [SUM*PORTS-1:0] old_sums,
    input  wire [SUM*PORTS-1:0] new_sums,
    input  wire clear,
    input  wire [LINES-1:0] read_line,
    output logic [SUM*COLUMNS-1:0] read_sums
);
    reg [SUM*COLUMNS*LINES-1:0] sums;
    logic [SUM*COLUMNS*LINES-1:0] next;
    always_comb begin
        old_sums = '0;
        read_sums = '0;
        for (int line = 0; line < LINES; line++) begin
            for (int x = 0; x < COLUMNS; x++) begin
                for (int port = 0; port < PORTS; port++) begin
                    if (to_line[LINES*port + line] && to_column[COLUMNS*port + x])
                        old_sums[SUM*port +: SUM] |= sums[SUM*(COLUMNS*line + x) +: SUM];
                end
            end
            if (read_line[line]) read_sums |= sums[SUM*COLUMNS*line +: SUM*COLUMNS];
        end
    end
    logic [SUM-1:0] written;
    logic hit;
    always_comb begin
        written = '0;
        hit = 1'b0;
        for (int line = 0; line < LINES; line++) begin
            for (int x = 0; x < COLUMNS; x++) begin
                written = '0;
                hit = 1'b0;
                for (int port = 0; port < PORTS; port++) begin
                    if (to_line[LINES*port + line] && to_column[COLUMNS*port + x]) begin
                        written |= new_sums[SUM*port +: SUM];
                        hit = 1'b1;
                    end
                end
                next[SUM*(COLUMNS*line + x) +: SUM] = hit ? written : sums[SUM*(COLUMNS*line + x) +: SUM];
            end
        end
    end
    always_ff @(posedge clock) begin
        for (int line = 0; line < LINES; line++) begin
            if (reset || (clear && read_line[line])) sums[SUM*COLUMNS*line +: SUM*COLUMNS] <= '0;
            else sums[SUM*COLUMNS*line +: SUM*COLUMNS] <= next[SUM*COLUMNS*line +: SUM*COLUMNS];
        end
    end
endmodule
